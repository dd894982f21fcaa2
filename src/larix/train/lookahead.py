"""When a batch's rows are looked up and stepped: in turn, or a bounded number of batches ahead on a thread.

Knows nothing of the network or of files.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from larix.batch import Batch, Floats
from larix.data import Position
from larix.model.embed import Embed
from larix.model.inputs import Inputs
from larix.train.phases import Phases


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A batch, and where its stream stood after it."""

    batch: Batch
    position: Position


class Lookahead:
    """Looks batches up and applies their gradients, with a bounded staleness; times both into ``phases``.

    ``staleness`` 0: batch n is looked up in the caller's thread, after the update of batch n - 1.
    ``staleness`` k: one background thread does lookups and updates in a fixed order, so that batch n is
    looked up after the update of batch n - 1 - k and before the next one, run after run, however fast the
    threads happen to be.
    """

    def __init__(self, embed: Embed, staleness: int, phases: Phases) -> None:
        self._embed = embed
        self._staleness = staleness
        self._phases = phases
        self._waiting: deque[tuple[Placed, Future[Inputs] | None]] = deque()  # None: to be looked up anew
        self._updates: deque[Future[None]] = deque()
        # One thread and not more: its queue is the order of lookups and updates.
        self._thread = ThreadPoolExecutor(1, "larix-rows") if staleness else None

    def __call__(self, batches: Iterable[Placed]) -> Iterator[tuple[Placed, Inputs]]:
        """Yield every batch with its inputs; call ``apply`` with those before asking for the next."""
        if self._thread is None:
            for placed in batches:
                yield placed, self._look_up(placed)
            return
        for placed in batches:
            self._renew()
            self._waiting.append((placed, self._thread.submit(self._look_up, placed)))
            if len(self._waiting) > self._staleness:
                yield self._next()
        while self._waiting:
            self._renew()
            yield self._next()

    def apply(self, inputs: Inputs, scale: float, clicks: Floats | None = None) -> None:
        """Step the rows by the gradients in ``inputs``; an earlier update's failure is raised here."""
        if self._thread is None:
            self._update(inputs, scale, clicks)
            return
        self._updates.append(self._thread.submit(self._update, inputs, scale, clicks))
        while self._updates and (self._updates[0].done() or len(self._updates) > self._staleness + 1):
            self._updates.popleft().result()

    def settle(self) -> None:
        """Wait until every update is in the tables and the thread rests; what waits is then looked up anew.

        So the batches after a checkpoint read the same rows as in a run that starts from that checkpoint.
        """
        while self._updates:
            self._updates.popleft().result()
        for _, lookup in self._waiting:
            if lookup is not None:
                lookup.result()
        self._waiting = deque((placed, None) for placed, _ in self._waiting)

    def close(self) -> None:
        """End the thread, after what was handed in."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _renew(self) -> None:
        assert self._thread is not None
        for index, (placed, lookup) in enumerate(self._waiting):
            if lookup is None:
                self._waiting[index] = placed, self._thread.submit(self._look_up, placed)

    def _next(self) -> tuple[Placed, Inputs]:
        placed, lookup = self._waiting.popleft()
        assert lookup is not None
        return placed, lookup.result()

    def _look_up(self, placed: Placed) -> Inputs:
        with self._phases("lookup"):
            return self._embed(placed.batch, train=True)

    def _update(self, inputs: Inputs, scale: float, clicks: Floats | None) -> None:
        with self._phases("update"):
            self._embed.apply(inputs, scale, clicks)
