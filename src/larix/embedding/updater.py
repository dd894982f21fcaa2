"""Keeps a replica at the newest state of a log that another process writes, while others read it.

Knows nothing of how a log is written or how a replica keeps its rows.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from larix.embedding import follow
from larix.embedding.polling import Polling
from larix.embedding.replica import Replica
from larix.errors import StorageError


class Updater:
    """Follows the folder of a ``DeltaLog``: by hand with ``poll``, or on a thread of its own from ``start`` to ``stop``.

    A replica that shows a state of the log goes on from there; any other, also one that has fallen behind the
    oldest delta that is kept, is given the newest base first (``replaced`` counts how often). Nothing that fails
    is hidden, and the replica goes on showing what it did.
    """

    def __init__(self, replica: Replica, folder: str | Path) -> None:
        self.replica = replica
        self.folder = Path(folder)
        self.replaced = 0
        self._log: follow.Follower | None = None
        self._turn = threading.Lock()
        self._polling = Polling(self.poll, str(self.folder))

    def poll(self) -> bool:
        """Bring the replica to the newest state in the folder; return whether that is another than before.

        StorageError names a file that is damaged or missing; the next poll begins anew with the newest base, and
        so gets over it once there is one. ConfigError if a table has another dim by now.
        """
        with self._turn:
            before = self.replica.instant
            for first in (True, False):
                try:
                    self._catch_up()
                    break
                except Exception as error:
                    behind = isinstance(error, StorageError) and self._fell_behind()
                    self._log = None  # where it stands is not sure any more
                    if not (first and behind):
                        raise
            return self.replica.instant != before

    def start(self, every: float = 1.0, *, on_error: Callable[[Exception], None] | None = None) -> None:
        """Poll now and ``every`` so many seconds from now on, on a daemon thread.

        What a poll raises goes to ``on_error``, and polling goes on; without it the thread ends, with the error
        on standard error, and ``stop`` raises it.
        """
        self._polling.start(every, on_error=on_error)

    @property
    def running(self) -> bool:
        """Whether a thread polls."""
        return self._polling.running

    def stop(self) -> None:
        """End polling, if it is going on, and raise what ended it before."""
        self._polling.stop()

    def _catch_up(self) -> None:
        if self._log is None:
            log = follow.Follower(self.folder)
            if not self._continues(log):
                self.replica.replace(log.base)
                self.replaced += 1
            self._log = log
        for changes in self._log.poll():
            self.replica.apply(changes)

    def _continues(self, log: follow.Follower) -> bool:
        """Whether the replica shows the newest base or a state that came after it."""
        if self.replica.instant is None:
            return False
        states = [log.instant]
        for number in follow.numbers(self.folder, "delta"):
            if number > log.number:
                path = follow.path_of(self.folder, "delta", number)
                states.append(follow.told(path)[2])
        return any(state.same_state(self.replica.instant) for state in states)

    def _fell_behind(self) -> bool:
        """Whether the next delta is not there, but a newer base is."""
        if self._log is None:
            return False
        following = follow.path_of(self.folder, "delta", self._log.number + 1)
        bases = follow.numbers(self.folder, "base")
        return not following.exists() and max(bases, default=0) > self._log.number
