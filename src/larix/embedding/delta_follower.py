"""Keeps a replica at the newest state that messages tell of, while others read it.

Knows nothing of where messages come from, nor of what stands beside the rows.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from larix.embedding import wire
from larix.embedding.changes import Changes
from larix.embedding.polling import Polling
from larix.embedding.snapshot import Snapshot
from larix.embedding.wire import Message
from larix.errors import StorageError


class Messages(Protocol):
    """Where messages come from, in order."""

    def poll(self, timeout_s: float) -> Sequence[Message]:
        """The next ones, if some come within the time. StorageError, once, if they are damaged or gone: then those after."""

    def newest(self) -> Message | None:
        """The newest snapshot or fence that is there."""

    def seek(self, message: Message) -> None:
        """Go on with what leads on from a snapshot or fence: see ``Message.after``."""

    def snapshot(self, version: str) -> Snapshot:
        """The rows of a version. StorageError if it is gone or damaged."""


class Rows(Protocol):
    """What shows the rows: an ``embedding.Replica``, or what makes another one of a snapshot."""

    def apply(self, changes: Changes) -> object:
        """Show the state at ``changes.last``. StorageError if changes are missing in between."""

    def replace(self, snapshot: Snapshot) -> None:
        """Show the state of ``snapshot``."""


class Beside(Protocol):
    """What stands beside the rows and comes the same way: a network's weights, say."""

    def begin(self, version: str) -> None:
        """Take over what a version has of it. StorageError if that is gone or damaged."""

    def dense(self, payload: bytes) -> None:
        """Take over what a message says of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """The state that a follower is at."""

    history: str
    sequence: int
    mark: int


class DeltaFollower:
    """Follows messages into ``replica``: by hand with ``poll``, or on a thread of its own from ``start`` to ``stop``.

    It begins with the newest snapshot, then takes over rows in order. Rows that it has already, told again by a trainer
    that went on from a checkpoint, are passed over; before it goes on with what comes after them, marks are compared. If
    the two differ, or if messages are missing in between (a cut connection and retention, damage), it goes on showing what it
    did and loads the next snapshot that it is told of: ``waiting`` then says why, "" otherwise.

    ``shown``: the state that ``replica`` shows already, if it is one that messages tell of: where the newest snapshot is of that
    history and not ahead, it goes on from there and loads nothing.

    ``stand``: where it is, None at first. ``taking``: the message that is being taken over, for whoever is called meanwhile.
    ``event_ms``, ``published_ms``: the latest event time in the rows, and when they were published. Counts: ``applied``
    deltas, ``passed`` over, ``replaced`` by snapshots. ``trouble``: the last damage or loss that was met, by name; "" if none
    was.
    """

    def __init__(
        self, replica: Rows, messages: Messages, beside: Beside | None = None, *, shown: Stand | None = None
    ) -> None:
        self.replica = replica
        self.stand: Stand | None = None
        self.taking: Message | None = None
        self.waiting = ""
        self.trouble = ""
        self.event_ms = self.published_ms = 0
        self.applied = self.passed = self.replaced = 0
        self._messages = messages
        self._beside = beside
        self._shown = shown
        self._parts: list[Message] = []
        self._dense_at = 0
        self._history = ""  # whose messages are taken
        self._begun_at = -1  # the message whose version was loaded last
        self._astray = False  # what is shown is of no state that training went on from
        self._turn = threading.Lock()
        self._polling = Polling(self.poll, "deltas")

    def poll(self, timeout_s: float = 0.0) -> bool:
        """Take over what has come, or what comes within the time; return whether anything did: if so, more may be there.

        StorageError if there is a snapshot to begin with but it cannot be loaded; the next poll tries again.
        """
        with self._turn:
            if self.stand is None:
                return self._begin()
            try:
                messages = self._messages.poll(timeout_s)
                for message in messages:
                    if self._take(message):
                        break  # it was gone on from elsewhere
                if self._astray:
                    self._overtake()
            except StorageError as error:
                self.trouble = str(error)
                self._parts = []
                self._overtake()
                return True
            return len(messages) > 0

    def start(self, every: float = 0.05, *, on_error: Callable[[Exception], None] | None = None) -> None:
        """Poll every so many seconds on a daemon thread; see ``Polling.start``."""
        self._polling.start(every, on_error=on_error)

    @property
    def running(self) -> bool:
        """Whether a thread polls."""
        return self._polling.running

    def stop(self) -> None:
        """End polling, if it is going on, and raise what ended it before."""
        self._polling.stop()

    def _begin(self) -> bool:
        """Load the newest snapshot there is; again if it was pruned meanwhile for a newer one."""
        newest = self._messages.newest()
        if newest is not None and self._shown is not None and _leads_to(newest, self._shown):
            self.stand, self._history, self._dense_at = (
                self._shown,
                self._shown.history,
                self._shown.sequence,
            )
            self.event_ms, self.published_ms = newest.event_ms, newest.time_ms
            self._begun_at = newest.offset
            self._messages.seek(newest)
            return True
        while newest is not None:
            try:
                self._load(newest)
                return True
            except StorageError:
                failed, newest = newest, self._messages.newest()
                if newest is None or newest.version == failed.version:
                    raise
        return False

    def _overtake(self) -> None:
        """Messages are missing: go on with the newest snapshot if that is ahead, otherwise with what comes."""
        astray, self._astray = self._astray, False
        newest = self._messages.newest()
        assert self.stand is not None
        if newest is None or newest.offset == self._begun_at:
            return  # it would come the same way again
        if not astray and newest.history == self._history and newest.last <= self.stand.sequence:
            return  # what comes may yet follow on what is here
        self._try(newest)

    def _take(self, message: Message) -> bool:
        """Take over a message; whether what follows it is to be asked for anew."""
        assert self.stand is not None
        self.taking = message
        if message.kind == "fence" and message.history != self._history:
            self._history = message.history  # also if its version cannot be had any more
            if (self.stand.sequence, self.stand.mark) != (message.last, message.mark(message.last)):
                self._astray = not self._try(message)
                return not self._astray
            self._stands_at(message)
        elif message.history != self._history:
            self.passed += 1  # of a trainer from before a fence, or after one that is missing
        elif message.kind in (
            "snapshot",
            "fence",
        ):  # a fence twice, as the trainer was killed before it had trained
            if self.waiting or message.last > self.stand.sequence:
                self._astray = not self._try(message)
                return not self._astray
        elif (whole := self._joined(message)) is not None:
            if message.kind == "rows":
                self._rows(message, whole)
            elif not self.waiting and self._beside is not None and message.last > self._dense_at:
                self._beside.dense(whole)
                self._dense_at = message.last
        return False

    def _joined(self, message: Message) -> bytes | None:
        """The payload of all parts, once the last is there."""
        if self._parts and self._parts[-1].group != message.group:
            self._parts = []  # whoever wrote them did not come to the end
        if message.part != len(self._parts):
            self._parts = []
            return None
        self._parts.append(message)
        if len(self._parts) < message.parts:
            return None
        parts, self._parts = self._parts, []
        return parts[0].payload if len(parts) == 1 else b"".join(part.payload for part in parts)

    def _rows(self, message: Message, payload: bytes) -> None:
        assert self.stand is not None
        at = self.stand.sequence
        if message.last <= at or self.stand.history != self._history:
            self.passed += 1
        elif message.first - 1 > at:
            self.waiting = f"deltas {at + 1} to {message.first - 1} are missing; a snapshot is waited for"
        elif message.mark(at) != self.stand.mark:
            self._astray = True
            self.waiting = f"state {at} here is not the one that training passed; a snapshot is waited for"
        else:
            try:
                self.replica.apply(wire.from_bytes(payload))
            except StorageError as error:
                self.trouble = self.waiting = str(error)
                return
            self.waiting = ""
            self.applied += 1
            self._stands_at(message)

    def _try(self, message: Message) -> bool:
        """Load a snapshot; if that fails, wait for the next: it may have been pruned long ago."""
        try:
            self._load(message)
        except StorageError as error:
            self.trouble = self.waiting = str(error)
            return False
        return True

    def _load(self, message: Message) -> None:
        self.taking = message
        snapshot = self._messages.snapshot(message.version)
        if self._beside is not None:
            self._beside.begin(message.version)
        self.replica.replace(snapshot)
        self.replaced += 1
        self.waiting = ""
        self._begun_at = message.offset
        self._history = message.history
        self._dense_at = message.last
        self._stands_at(message)
        self._parts = []
        self._messages.seek(message)

    def _stands_at(self, message: Message) -> None:
        mark = message.mark(message.last)
        assert mark is not None
        self.stand = Stand(history=message.history, sequence=message.last, mark=mark)
        self.event_ms, self.published_ms = message.event_ms, message.time_ms


def _leads_to(message: Message, shown: Stand) -> bool:
    """Whether what follows a snapshot leads to a state, or on from it."""
    if message.history != shown.history or message.last > shown.sequence:
        return False
    return message.last < shown.sequence or message.mark(message.last) == shown.mark
