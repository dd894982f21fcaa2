"""The oracle's rows of one table: which id lives where, and what it holds. Knows nothing of slots and pools."""

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats, Ids
from larix.embedding import birth, precision
from larix.embedding.admission import ByCount
from larix.embedding.budget import row_bytes
from larix.embedding.eviction import fading, keeps_score
from larix.embedding.optimizer import rate
from larix.embedding.reference.admit import Sketch
from larix.embedding.reference.evict import elapsed, faded
from larix.embedding.reference.step import first_state, step
from larix.embedding.reference.track import Track
from larix.embedding.snapshot import Piece, UInts
from larix.embedding.spec import TableSpec

Places = NDArray[np.int64]  # where rows are in a table's array; -1 is none. No place is ever used twice.
REFUSED = -2  # the place of an id that was met in training and given no row


class Rows:
    """Rows of one table: ``rows`` float32 ``[n, dim + state]``, weights first, each a value of the table's precision.

    For each, ``changed``: the sequence number, and ``seen``: the clock when it was last born, put or trained on;
    ``score``: what its eviction policy keeps, if it keeps one.
    """

    def __init__(self, spec: TableSpec, seed: int, track: Track) -> None:
        self.spec = spec
        self.track = track
        self.key = birth.table_key(seed, spec.name)
        self.places: dict[int, int] = {}
        self.rows = np.zeros((0, spec.dim + spec.state), np.float32)
        self.ids = np.zeros(0, np.int64)
        self.alive = np.zeros(0, bool)
        self.changed: UInts = np.zeros(0, np.uint32)
        self.seen: UInts = np.zeros(0, np.uint32)
        self.score: Floats = np.zeros(0, np.float32)
        self.fading = fading(spec.eviction)
        self.sketch = Sketch(spec.admission, self.key) if isinstance(spec.admission, ByCount) else None

    @property
    def bytes(self) -> int:
        """Memory that the rows alive take in the native store."""
        return len(self.places) * row_bytes(self.spec)

    def find(self, ids: Ids) -> Places:
        """Where the ids are; -1 for an id without a row."""
        return np.fromiter((self.places.get(i, -1) for i in ids.tolist()), np.int64, len(ids))

    def insert(self, ids: Ids) -> None:
        """Give every id that has none a row of its own."""
        new = np.array([i for i in dict.fromkeys(ids.tolist()) if i not in self.places], np.int64)
        self.places.update(zip(new.tolist(), range(len(self.rows), len(self.rows) + len(new)), strict=True))
        born = birth.born(self.spec.init, self.key, new, self.spec.dim)
        weights = precision.nearest(self.spec.precision, born)
        state = first_state(self.spec.optimizer, weights, self.spec.state)
        self.rows = np.concatenate([self.rows, np.concatenate([weights, state], axis=1)])
        self.ids = np.concatenate([self.ids, new])
        self.alive = np.concatenate([self.alive, np.ones(len(new), bool)])
        self.changed, self.seen = (
            np.append(a, np.zeros(len(new), np.uint32)) for a in (self.changed, self.seen)
        )
        self.score = np.append(self.score, np.zeros(len(new), np.float32))
        self.touch(self.find(new))

    def touch(self, places: Places) -> None:
        """Note that rows change now."""
        self.track.open |= bool(len(places))
        self.changed[places], self.seen[places] = self.track.sequence, self.track.clock

    def drop(self, ids: Ids) -> int:
        """Take rows away and return how many there were."""
        gone = [i for i in dict.fromkeys(ids.tolist()) if i in self.places]
        self.alive[[self.places.pop(i) for i in gone]] = False
        self.track.remove(self.spec.name, gone)
        return len(gone)

    def since(self, sequence: int) -> Ids:
        """Ids of the rows that changed later than in ``sequence``, rising."""
        return np.array(sorted(i for i, at in self.places.items() if self.changed[at] > sequence), np.int64)

    def gone(self, sequence: int) -> Ids:
        """Ids that were removed later than in ``sequence`` and have no row, rising."""
        gone = self.track.gone.get(self.spec.name, {})
        return np.array(
            sorted(i for i, when in gone.items() if when > sequence and i not in self.places), np.int64
        )

    def piece(self, ids: Ids) -> Piece:
        """A copy of the rows of ids that are there."""
        at, dim = self.find(ids), self.spec.dim
        rows = self.rows[at]
        weights, state = rows[:, :dim].copy(), rows[:, dim:].copy()
        return Piece(self.spec.name, ids, weights, state, self.seen[at], self.score[at])

    def read(self, places: Places) -> Floats:
        """Whole rows ``[n, dim + state]``; zeros where there is no row."""
        found = np.zeros((len(places), self.rows.shape[1]), np.float32)
        found[places >= 0] = self.rows[places[places >= 0]]
        return found

    def weights(self, places: Places) -> Floats:
        """Weights ``[n, dim]``; the table's default where there is no row."""
        weights = self.read(places)[:, : self.spec.dim]
        weights[places < 0] = precision.nearest(
            self.spec.precision, np.array([[self.spec.default]], np.float32)
        )
        return weights

    def apply(self, places: Places, grads: Floats, lr_scale: float, gains: Floats) -> int:
        """Sum the gradients of repeated rows in order, step each row once; return how many met no row.

        ``gains`` ``[n]``: what each adds to its row's score.
        """
        there = (places >= 0) & (places < len(self.rows))
        there[there] = self.alive[places[there]]
        touched, owner = np.unique(places[there], return_inverse=True)
        summed = np.zeros((len(touched), self.spec.dim), np.float32)
        np.add.at(summed, owner, grads[there])
        spec, rows = self.spec, self.rows[touched]
        weights, state = rows[:, : spec.dim], rows[:, spec.dim :]
        steps = self.track.steps
        step(spec.optimizer, weights, state, summed, rate(spec.optimizer, steps, lr_scale))
        draws = precision.draws(self.key, self.ids[touched], steps, spec.dim)
        weights[:] = precision.stochastic(spec.precision, weights, draws)
        self.rows[touched] = rows
        if keeps_score(self.spec.eviction):
            gained = np.zeros(len(touched), np.float32)
            np.add.at(gained, owner, gains[there])
            old = faded(self.score[touched], elapsed(self.track.clock, self.seen[touched]), self.fading)
            self.score[touched] = old + gained
        self.touch(touched)
        return int(np.count_nonzero(~there & (places != REFUSED)))

    def priority(self, places: Places, clock: int) -> NDArray[np.float64]:
        """What decides who goes first, lowest first: the score as it has faded by now, or the clock last seen."""
        if keeps_score(self.spec.eviction):
            ticks = elapsed(clock, self.seen[places])
            return faded(self.score[places], ticks, self.fading).astype(np.float64)
        return self.seen[places].astype(np.float64)
