"""Something done again and again on a thread of its own, until it is stopped. Knows nothing of what it is."""

import threading
from collections.abc import Callable

from larix.errors import ConfigError


class Polling:
    """Calls ``poll`` every so many seconds from `start` to `stop`. ``what`` is being polled: for errors and the thread's name."""

    def __init__(self, poll: Callable[[], object], what: str) -> None:
        self._poll = poll
        self._what = what
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    @property
    def running(self) -> bool:
        """Whether the thread polls."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, every: float, *, on_error: Callable[[Exception], None] | None = None) -> None:
        """Poll now and ``every`` so many seconds from now on, on a daemon thread.

        What a poll raises goes to ``on_error``, and polling goes on; without it the thread ends, with the error
        on standard error, and ``stop`` raises it.
        """
        if self.running:
            raise ConfigError(f"'{self._what}' is being polled already; stop it first")
        if not every > 0:
            raise ConfigError(f"every is {every} seconds; it must be above 0")
        self._over.clear()
        self._failure = None
        self._thread = threading.Thread(
            target=self._run, args=(every, on_error), name=f"follower of {self._what}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End polling, if it is going on, and raise what ended it before."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self, every: float, on_error: Callable[[Exception], None] | None) -> None:
        try:
            while True:
                try:
                    self._poll()
                except Exception as error:
                    if on_error is None:
                        raise
                    on_error(error)
                if self._over.wait(every):
                    return
        except Exception as error:
            self._failure = error
            raise
