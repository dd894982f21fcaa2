"""What of a run goes into the topic of deltas, and what followers can be brought to from there.

Knows tables, messages and the topic; knows nothing of training or of when it is time.
"""

from collections.abc import Mapping
from time import monotonic

import numpy as np
import safetensors.torch
from torch import Tensor

from larix.embedding import Message, Tables, wire
from larix.errors import ConfigError
from larix.train.online.deltas import Deltas, DeltaWriter
from larix.train.online.marks import Marks
from larix.train.online.versions import Written
from larix.train.online.watcher import Published


class Publisher:
    """Publishes one history of states. ``reached``: the sequence number that the topic leads to by deltas.

    ``lost``: the tables no longer know all that changed since then: only a snapshot leads on.
    """

    def __init__(self, deltas: Deltas, tables: Tables, marks: Marks, history: str, reached: int) -> None:
        self.reached = reached
        self.lost = False
        self._writer = DeltaWriter(deltas)
        self._tables = tables
        self._marks = marks
        self._history = history

    def rows(self, step: int, event_ms: int) -> Published | None:
        """Publish all rows that changed since ``reached``; None if none did, or if they are ``lost``.

        StorageError if they cannot be written: the next call publishes these changes, too.
        """
        if self._tables.sequence - 1 <= self.reached:
            return None
        try:
            changes = self._tables.changes(self.reached)
        except ConfigError:  # rows go behind the scenes, so it may let go at any time
            kept = self._tables.kept
            if kept is not None and kept <= self.reached:
                raise
            self.lost = True
            return None
        began = monotonic()
        message = self._writer.write(
            Message(
                kind="rows",
                history=self._history,
                first=changes.first,
                last=changes.last,
                marks=self._marks.since(self.reached),
                payload=wire.to_bytes(changes),
                step=step,
                event_ms=event_ms,
            )
        )
        self._reach(changes.last)
        rows = sum(len(of.ids) for of in changes.tables.values())
        removed = sum(len(of.removed) for of in changes.tables.values())
        return _told(message, began, rows, removed)

    def dense(self, weights: Mapping[str, Tensor], step: int, event_ms: int) -> Published:
        """Publish weights of the network as they are at the newest state. StorageError if they cannot be written."""
        began = monotonic()
        own = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in weights.items()}
        message = self._writer.write(
            Message(
                kind="dense",
                history=self._history,
                last=self._marks.sequence,
                marks=self._marks.since(self._marks.sequence),
                payload=bytes(safetensors.torch.save(own)),
                step=step,
                event_ms=event_ms,
            )
        )
        return _told(message, began)

    def end(self) -> int:
        """Where in the topic what leads on from the newest state will be: the ``after`` of a version that is begun now."""
        return self._writer.end()

    def version(self, written: Written, *, after: int = -1, fence: bool = False) -> Published:
        """Say that a version is there; with ``fence``, that the history begins with it.

        StorageError if it cannot be written.
        """
        began = monotonic()
        message = self._writer.write(named(written, self._history, after=after, fence=fence))
        if self.lost or written.state.sequence > self.reached:
            self.lost = False
            self._reach(written.state.sequence)
        return _told(message, began)

    def _reach(self, sequence: int) -> None:
        self.reached = sequence
        self._tables.forget(sequence)
        self._marks.forget(sequence)


def named(written: Written, history: str, *, fence: bool, after: int = -1) -> Message:
    """The message that names a version."""
    return Message(
        kind="fence" if fence else "snapshot",
        history=history,
        last=written.state.sequence,
        marks=np.array([written.state.mark], np.uint64),
        version=written.path.name,
        after=after,
        step=written.state.step,
        event_ms=written.state.event_ms,
    )


def _told(message: Message, began: float, rows: int = 0, removed: int = 0) -> Published:
    return Published(
        kind=message.kind,
        step=message.step,
        sequence=message.last,
        rows=rows,
        removed=removed,
        bytes=len(message.payload),
        event_ms=message.event_ms,
        time_ms=message.time_ms,
        seconds=monotonic() - began,
    )
