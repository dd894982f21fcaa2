"""A version that learns while it answers: rows by deltas, its network made anew off the answers' path, whole states only.

Knows nothing of where messages come from, nor of how a network is compiled.
"""

import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Protocol

from larix.embedding import Message, Replica, Snapshot, Stand
from larix.embedding.changes import Changes
from larix.embedding.delta_follower import DeltaFollower, Messages
from larix.embedding.polling import Polling
from larix.errors import ConfigError
from larix.serve.engine import Target
from larix.serve.models.leaving import Leaving
from larix.serve.models.upkeep import adapted, gauges_of
from larix.serve.request import Stamp
from larix.serve.scorer import Scorer
from larix.serve.service import Columns

_EVERY_S = 0.05
_AGAIN_S = 1.0  # after what failed
_STATES = 8  # that stamps are kept of: nobody reads any but the newest two


class Source(Messages, Protocol):
    """Messages of a run, in order, and the versions that they name."""

    def weights(self, version: str) -> bytes:
        """The network of a version, as dense messages have it. StorageError if it is gone or damaged."""


class States:
    """What stamps say of the states of one replica, by the sequence numbers of its rows."""

    def __init__(self, stamp: Stamp) -> None:
        """``stamp``: of the state that the rows are at."""
        self._stamps = {stamp.rows: stamp}

    def coming(self, message: Message) -> None:
        """The rows are about to be at the state that ``message`` leads to."""
        kept = list(self._stamps.values())[-_STATES:]
        stamp = replace(kept[0], history=message.history, rows=message.last, event_ms=message.event_ms)
        self._stamps = {each.rows: each for each in (*kept, stamp)}

    def stamp(self, rows: int, dense: int) -> Stamp:
        """The stamp of rows at ``rows`` with the network of ``dense``."""
        return replace(self._stamps[rows], dense=dense)


class Remake(Protocol):
    """Makes what scores of rows and a network's weights."""

    def __call__(self, rows: Replica, weights: bytes, stamps: Callable[[int], Stamp]) -> Scorer | None:
        """Compiled, measured and warm; those who answer meanwhile keep their cores. ``stamps``: by the rows' sequence number.

        None if others have their turn first: ask again.

        StorageError for weights that are damaged or cannot be stored, ConfigError if they are another network's.
        """


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Wanted:
    """A network that is to be made: ``weights`` of the state ``dense``, over ``rows``."""

    rows: Replica
    states: States
    weights: bytes
    dense: int


class Following:
    """An edition kept at the newest state that messages tell of.

    ``target``: its scorer is over ``rows``, whose states ``states`` tells, as it was loaded at ``stand``. ``filled``: makes a
    replica that shows a snapshot. ``dense_s``: a network is made anew at most so often, in seconds.

    Deltas go into the rows that answers read, at once: a call sees whole states only. A network's weights become another scorer
    over the same rows; a snapshot or a fence another over rows of its own. Either takes the place of the one before when
    it is warm, in one store, and its stamp with it, so that the network of an answer is never newer than its rows. While
    messages are missing or a network cannot be made, answers are of the last whole state, and ``trouble`` says why.
    """

    def __init__(
        self,
        target: Target,
        columns: Columns,
        *,
        rows: Replica,
        states: States,
        stand: Stand,
        source: Source,
        remake: Remake,
        filled: Callable[[Snapshot], Replica],
        dense_s: float = 30.0,
    ) -> None:
        if not dense_s >= 0:
            raise ConfigError(f"dense_s is {dense_s}; it is a number of seconds, 0 or more")
        self.target = target
        self.columns = columns
        self.remade = 0
        self._rows, self._states = rows, states  # what deltas go to
        self._source, self._remake, self._filled, self._dense_s = source, remake, filled, dense_s
        mine = weakref.proxy(
            self
        )  # it is to go with its last request, and not to wait for a collection of cycles
        self._follower = DeltaFollower(mine, source, mine, shown=stand)
        self._begun = b""  # the network of the snapshot that is being loaded
        self._wanted: _Wanted | None = None
        self._leaving = Leaving()
        self._turn = threading.Lock()
        self._freshness_s = 0.0
        self._cut = self._stale = self._unmoved = ""  # why messages or a network cannot be had, or rows moved
        self._poll_at = self._make_at = 0.0
        self._threads: tuple[Polling, ...] = ()

    @property
    def gauges(self) -> Mapping[str, float]:
        """Where it stands and what it has done."""
        follower, stamp = self._follower, self.target.scorer.stamp
        return {
            **gauges_of(self._rows),
            "delta_rows": float(stamp.rows),
            "delta_dense": float(stamp.dense),
            "delta_event_ms": float(stamp.event_ms),
            "delta_published_ms": float(follower.published_ms),
            "delta_age_s": max(0.0, time() - follower.published_ms / 1e3) if follower.published_ms else 0.0,
            "delta_freshness_s": self._freshness_s,
            "delta_applied": float(follower.applied),
            "delta_passed": float(follower.passed),
            "delta_replaced": float(follower.replaced),
            "delta_networks": float(self.remade),
            "delta_trouble": float(bool(self.trouble)),
        }

    @property
    def trouble(self) -> str:
        """Why it is not at the newest state; "" if it is, as far as it knows."""
        return "; ".join(filter(None, (self._follower.waiting or self._cut, self._stale, self._unmoved)))

    def start(self) -> None:
        """Follow on two threads: one takes over messages, one has networks made."""
        if not self._threads:
            self._threads = Polling(self._follow, "deltas"), Polling(self.make, "networks")
            for each in self._threads:
                each.start(_EVERY_S)

    def stop(self) -> None:
        """End both; a network that is being made is waited for."""
        threads, self._threads = self._threads, ()
        for each in threads:
            each.stop()

    def mind(self) -> None:
        """Move rows between levels, if they are on several."""
        self._unmoved = adapted(self._rows)

    def catch_up(self, timeout_s: float, between: Callable[[], None] = lambda: None) -> bool:
        """Take over what there is, network and all; whether that was all, or the time had passed before.

        ``between`` is called after each message or few of them.
        """
        until = monotonic() + timeout_s
        more = True
        while more and monotonic() < until:
            more = self.poll()
            between()
        self._make_at = 0.0
        self.make()
        return not more

    def poll(self) -> bool:
        """Take over what has come; whether anything had: then there may be more. What fails, ``trouble`` tells."""
        if monotonic() < self._poll_at:
            return False
        try:
            more = self._follower.poll()
        except Exception as error:  # it goes on showing what it did, whatever is wrong with what was sent
            self._cut, self._poll_at = str(error), monotonic() + _AGAIN_S
            return False
        self._cut = ""
        return more

    def make(self) -> bool:
        """Make the network that is wanted, if it is time; whether it was. What fails, ``trouble`` tells, and is tried again."""
        self._leaving.sweep()
        with self._turn:
            wanted = self._wanted
        if wanted is None or monotonic() < self._make_at:
            return False
        try:
            scorer = self._remake(
                wanted.rows, wanted.weights, lambda rows: wanted.states.stamp(rows, wanted.dense)
            )
        except Exception as error:
            self._stale = f"the network of state {wanted.dense} cannot be made: {error}"
            self._make_at = monotonic() + max(_AGAIN_S, self._dense_s)
            return False
        if scorer is None:
            return False
        self._stale = ""
        self._make_at = monotonic() + self._dense_s
        with self._turn:
            if self._wanted is wanted:
                self._wanted = None
            if wanted.rows is not self._rows:
                return False  # those were replaced meanwhile; what is wanted now goes with the new ones
            self._leaving.add("", self.target.scorer)
            self.target = replace(self.target, scorer=scorer)
        self.remade += 1
        return True

    # What the follower calls: the rows, and what stands beside them.

    def apply(self, changes: Changes) -> None:
        """Show the state at ``changes.last``."""
        message = self._follower.taking
        assert message is not None
        self._states.coming(message)
        self._rows.apply(changes)
        self._freshness_s = max(0.0, time() - message.event_ms / 1e3) if message.event_ms else 0.0

    def begin(self, version: str) -> None:
        """Have the network of a version at hand, for its rows are to come."""
        self._begun = self._source.weights(version)

    def replace(self, snapshot: Snapshot) -> None:
        """Load the rows of a snapshot beside those that are shown; they are when their network has been made."""
        message = self._follower.taking
        assert message is not None
        rows = self._filled(snapshot)
        stamp = replace(
            self.target.scorer.stamp, history=message.history, rows=message.last, event_ms=message.event_ms
        )
        weights, self._begun = self._begun, b""
        with self._turn:
            self._rows, self._states = rows, States(stamp)
            self._wanted = _Wanted(rows=rows, states=self._states, weights=weights, dense=message.last)
            self._make_at = 0.0  # what is shown meanwhile no longer moves

    def dense(self, payload: bytes) -> None:
        """Want the network of a message; one that was wanted before and is not begun is passed over."""
        message = self._follower.taking
        assert message is not None
        with self._turn:
            self._wanted = _Wanted(rows=self._rows, states=self._states, weights=payload, dense=message.last)

    def _follow(self) -> None:
        until = monotonic() + _AGAIN_S
        while self.poll() and monotonic() < until:
            pass
