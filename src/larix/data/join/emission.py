"""What the watermark passes comes out: actions act on the impressions they belong to, samples and corrections become a table.

Knows nothing of how events were judged.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.data.join import panes
from larix.data.join.actions import Actions
from larix.data.join.carried import Carried
from larix.data.join.impressions import Impressions, Part
from larix.data.join.labels import Labels
from larix.data.join.samples import kept, table
from larix.data.join.spec import JoinSpec
from larix.data.join.stats import JoinStats

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


_STEPS = 16  # in which a window of actions is done again


class _Chosen(NamedTuple):
    """Rows to come out: ``places`` among those of the parts, in order."""

    parts: list[Part]
    places: Ints
    ready: Ints
    labels: Floats
    known: Mask | None


class Emission:
    """Gives out each sample and each correction once."""

    def __init__(self, spec: JoinSpec, carried: Carried, impressions: Impressions, actions: Actions) -> None:
        self._spec, self._carried = spec, carried
        self._impressions, self._actions = impressions, actions
        self._labels = Labels(spec)
        self._at_once = spec.emit == "at_once"

    def emit(self, watermark: int, stats: JoinStats) -> pa.Table:
        """What became final since the last call, in order."""
        corrections = self._resolve(watermark, stats)
        samples = self._due(watermark, stats)
        return self._table([chosen for chosen in (samples, corrections) if chosen is not None])

    def catch_up(self, watermark: int) -> None:
        """Do again, without giving anything out, what was done before a save."""
        stats = JoinStats.of(self._spec)
        step = max(1, self._spec.window_ms // _STEPS)
        while (oldest := self._actions.oldest) < watermark:
            self._resolve(min(watermark, oldest + step), stats)
        self._impressions.due(watermark)

    def _resolve(self, watermark: int, stats: JoinStats) -> _Chosen | None:
        """Let the actions that the watermark has passed act; at once, give the corrections that this makes."""
        due = self._actions.due(watermark)
        if due is None:
            return None
        orphans = np.ones(len(due.times), bool)
        changes = []
        for actions, pane, entries in self._impressions.match(due.keys, due.times):
            orphans[actions] = False
            kinds, values = due.kinds[actions], due.values[actions]
            if not self._at_once:
                self._labels.take(pane.states, entries, kinds, values)
                continue
            known, labels = self._labels.changes(pane.states, entries, kinds, values)
            some = np.flatnonzero(known.any(axis=1))
            if len(some):
                changes.append((pane, entries[some], actions[some], known[some], labels[some]))
        if orphans.any():
            counts = np.bincount(due.kinds[orphans], minlength=len(self._spec.actions)).tolist()
            for action, count in zip(self._spec.actions, counts, strict=True):
                stats.kinds[action.name].orphans += count
        if not changes:
            return None
        parts: list[Part] = []
        where, count = [], 0
        for pane, entries, *_ in changes:
            some_parts, places = pane.parts(entries)
            parts += some_parts
            where.append(places + count)
            count += len(places)
        ranks, places = np.concatenate([each[2] for each in changes]), np.concatenate(where)
        ids = self._impressions.column(parts, self._spec.impressions.event_id)
        ids = ids[places] if isinstance(ids, np.ndarray) else ids.take(pa.array(places))
        # An action of several impressions corrects the first of them first.
        order = panes.order(ranks, _times(parts)[places], ids)
        stats.corrections += len(order)
        return _Chosen(
            parts,
            places[order],
            due.times[ranks[order]],
            np.concatenate([each[4] for each in changes])[order],
            np.concatenate([each[3] for each in changes])[order],
        )

    def _due(self, watermark: int, stats: JoinStats) -> _Chosen | None:
        """Samples whose time has come, less the negatives that are left out."""
        parts = self._impressions.due(watermark)
        if not parts:
            return None
        spec, ours = self._spec, self._spec.impressions
        times = _times(parts)
        if self._at_once:
            labels = np.zeros((len(times), len(spec.labels)))
        else:
            labels = np.concatenate([chunk.states[places] for chunk, places in parts])
        keys, ids = (self._impressions.column(parts, name) for name in (ours.key, ours.event_id))
        few = spec.negatives
        if few is None or few.rate == 1:
            places = panes.order(times, keys, ids)
        else:
            stays = labels[:, [*spec.labels].index(few.label)] != 0
            negatives = np.flatnonzero(~stays)
            some = keys[negatives] if isinstance(keys, np.ndarray) else keys.take(pa.array(negatives))
            stays[negatives] = kept(few, some)
            rows = np.flatnonzero(stays)
            stats.left_out += len(stays) - len(rows)
            keys, ids = (
                each[rows] if isinstance(each, np.ndarray) else each.take(pa.array(rows))
                for each in (keys, ids)
            )
            places = rows[panes.order(times[rows], keys, ids)]
        stats.samples += len(places)
        ready = times[places] + (0 if self._at_once else spec.window_ms)
        return _Chosen(parts, places, ready, labels[places], None)

    def _table(self, chosen: list[_Chosen]) -> pa.Table:
        """Samples, then corrections; at any one time."""
        labels = len(self._spec.labels)
        if not sum(len(each.places) for each in chosen):
            return table(
                self._spec,
                self._carried,
                None,
                labels=np.zeros((0, labels)),
                known=None,
                ready=np.zeros(0, np.int64),
                correction=np.zeros(0, bool),
            )
        if len(chosen) == 1:
            (one,) = chosen
            merged, correction = one, np.full(len(one.places), one.known is not None)
        else:
            samples, corrections = chosen
            count = sum(len(part.places) for part in samples.parts)
            ready = np.concatenate([samples.ready, corrections.ready])
            order = np.argsort(ready, kind="stable")  # both are in order
            known = np.ones((len(ready), labels), bool)
            known[len(samples.ready) :] = corrections.known
            merged = _Chosen(
                samples.parts + corrections.parts,
                np.concatenate([samples.places, corrections.places + count])[order],
                ready[order],
                np.concatenate([samples.labels, corrections.labels])[order],
                known[order],
            )
            correction = order >= len(samples.ready)
        return table(
            self._spec,
            self._carried,
            self._impressions.gather(merged.parts, merged.places),
            labels=merged.labels,
            known=merged.known,
            ready=merged.ready,
            correction=correction,
        )


def _times(parts: list[Part]) -> Ints:
    return np.concatenate([chunk.pane.times[chunk.first + places] for chunk, places in parts])
