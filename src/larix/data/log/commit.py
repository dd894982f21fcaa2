"""Syncs for those who do not wait: every so often, on a thread of its own. Knows nothing of what is written."""

import threading
from typing import Protocol

from larix.data.log.writer import Ticket
from larix.errors import StorageError


class Syncs(Protocol):
    """What it asks of a writer."""

    def wait(self, ticket: Ticket) -> None:
        """Return once the append is durable."""


class Committer:
    """Waits for tickets at most ``every_s`` seconds after they came. The thread begins with the first."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._lock = threading.Lock()
        self._cycle = threading.Lock()  # held while tickets are waited for
        self._pending: dict[Syncs, tuple[Ticket, Ticket]] = {}  # the first and the last
        self._failure: StorageError | None = None
        self._thread: threading.Thread | None = None
        self._some = threading.Event()
        self._ended = threading.Event()

    def add(self, writer: Syncs, ticket: Ticket) -> None:
        """Have the append made durable soon.

        Raises:
            StorageError: an earlier one could not be; it is told once.
        """
        with self._lock:
            first, _ = self._pending.get(writer, (ticket, ticket))
            self._pending[writer] = (first, ticket)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="larix-log-commit", daemon=True)
                self._thread.start()
        self._some.set()
        self._raise_failure()

    def flush(self) -> None:
        """Wait for all that was added.

        Raises:
            StorageError: some of it could not be made durable.
        """
        self._commit()
        self._raise_failure()

    def close(self) -> None:
        """End the thread; call `flush` before."""
        self._ended.set()
        self._some.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():  # the end may have come between the wait for it and the clearing
            self._some.wait()
            if self._ended.wait(self._every_s):
                return
            self._some.clear()
            self._commit()

    def _commit(self) -> None:
        with self._cycle:
            with self._lock:
                pending, self._pending = self._pending, {}
            for writer, tickets in pending.items():
                try:
                    for ticket in tickets:
                        writer.wait(ticket)
                except StorageError as error:
                    with self._lock:
                        self._failure = error

    def _raise_failure(self) -> None:
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
