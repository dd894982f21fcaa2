"""How the settings of tables, and layouts, are told to the native core.

Knows nothing of rows: ``table.py`` and ``replica.py`` make what holds them, and ask it.
"""

from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from larix import _native
from larix.batch import Floats
from larix.embedding import birth
from larix.embedding.admission import Admission, ByChance, ByCount
from larix.embedding.cold import ColdStats
from larix.embedding.eviction import Eviction, TimeToLive, fading, keeps_score, score_weights
from larix.embedding.init import Constant, Uniform
from larix.embedding.layout import Buffer, Layout, Output
from larix.embedding.lookup import Stats
from larix.embedding.optimizer import FTRL, LAMB, SGD, Adagrad, Adam, AdamW, Momentum, Optimizer, RowAdagrad
from larix.embedding.precision import Precision
from larix.embedding.schedule import CosineDecay, InverseSqrtDecay, Schedule, StepDecay, Warmup
from larix.embedding.spec import TableSpec
from larix.errors import ConfigError

Replica = _native.Replica
Reading = _native.Reading
Rows = Replica | Reading  # what is asked of the newest version, or of one that is held
_POOLS = {"sum": 0, "mean": 1, "sequence": 2}
_MOST = 16  # layouts remembered; a store sees one or two
_RULES: dict[type[Optimizer], _native.Rule] = {
    SGD: _native.Rule.sgd,
    Momentum: _native.Rule.momentum,
    Adagrad: _native.Rule.adagrad,
    RowAdagrad: _native.Rule.row_adagrad,
    Adam: _native.Rule.adam,
    AdamW: _native.Rule.adamw,
    FTRL: _native.Rule.ftrl,
    LAMB: _native.Rule.lamb,
}


def kind_of(spec: TableSpec) -> tuple[int, Precision, Optimizer]:
    """What tables that share an index agree in."""
    return spec.dim, spec.precision, spec.optimizer


def optimizer_of(optimizer: Optimizer) -> _native.Optimizer:
    """The core's form of an optimizer, whose numbers have the same names."""
    told = _native.Optimizer(_RULES[type(optimizer)], schedule_of(optimizer.schedule))
    for field in fields(optimizer):
        if field.name != "schedule" and (value := getattr(optimizer, field.name)) is not None:
            setattr(told, field.name, value)
    return told


def schedule_of(schedule: Schedule | None) -> _native.Schedule:
    """The core's form of a schedule: how long it warms up, what decays then, in how many steps, to what number."""
    if isinstance(schedule, Warmup):
        warmup, decay = schedule.steps, schedule.then
    else:
        warmup, decay = 0, schedule
    match decay:
        case None:
            return _native.Schedule(warmup, _native.Decay.none, 1, 0.0)
        case CosineDecay(steps=steps, floor=floor):
            return _native.Schedule(warmup, _native.Decay.cosine, steps, floor)
        case InverseSqrtDecay(steps=steps):
            return _native.Schedule(warmup, _native.Decay.inverse_sqrt, steps, 0.0)
        case StepDecay(every=every, ratio=ratio):
            return _native.Schedule(warmup, _native.Decay.step, every, ratio)


def admission_of(policy: Admission | None) -> tuple[int, int, int, int, int]:
    """Kind, least count, blocks and window of the sketch, bound of the draw: as native/admit.hpp has them."""
    match policy:
        case None:
            return 0, 0, 0, 0, 0
        case ByCount():
            return 1, policy.n, policy.blocks, policy.ageing, 0
        case ByChance():
            return 2, 0, 0, 0, policy.bound


def policy_of(
    policy: Eviction | None, pool: int, tiered: bool
) -> tuple[int, int, float, float, float, float, list[float]]:
    """Kind, pool, weights of shows, of clicks and in sequences, age, what scores fade by: as native/policy.hpp has them.

    ``tiered``: rows that no policy evicts may go to disk.
    """
    if policy is None:
        keep = 4 if tiered else 0
    else:
        keep = 2 if keeps_score(policy) else 3 if isinstance(policy, TimeToLive) else 1
    age = policy.age if isinstance(policy, TimeToLive) else 0.0
    return keep, pool, *score_weights(policy), age, fading(policy).tolist()


def birth_of(spec: TableSpec, seed: int) -> tuple[int, int, float]:
    """Initialiser, key and factor: as native/birth.hpp numbers them."""
    kind = 0 if isinstance(spec.init, Constant) else 1 if isinstance(spec.init, Uniform) else 2
    return kind, birth.table_key(seed, spec.name), birth.factor(spec.init)


def place(output: Output, buffer: Buffer, values: Floats) -> None:
    """Write ``values``, float32 ``[size, k]``, to the last columns of an output's buffer, which has no length."""
    _native.place(buffer, output.bf16, np.ascontiguousarray(values), output.width - values.shape[1])


class Plans:
    """The plans of one store, whose tables are numbered from 1 in the order of ``dims``; ``bf16``: whether its outputs may
    be.
    """

    def __init__(self, dims: Mapping[str, int], *, bf16: bool = True) -> None:
        self._dims = dims
        self._bf16 = bf16
        self._numbers = {name: number for number, name in enumerate(dims, 1)}
        self._made: dict[int, tuple[Layout, _native.Plan]] = {}

    def of(self, layout: Layout) -> _native.Plan:
        """Return the core's form of a layout; ConfigError if it does not fit the store's tables."""
        kept = self._made.get(id(layout))
        if kept is None or kept[0] is not layout:
            layout.check(self._dims)
            if not self._bf16 and (halves := [output.name for output in layout.outputs if output.bf16]):
                raise ConfigError(f"outputs {halves} are bf16; a replica looks up float32 only")
            slots = [
                (self._numbers[slot.table], _POOLS[slot.pool], slot.output, slot.column)
                for slot in layout.slots
            ]
            outputs = [(output.width, output.length, output.bf16) for output in layout.outputs]
            kept = layout, _native.Plan(slots, outputs)
            # A new dict each time: threads may be reading the old one.
            self._made = {id(layout): kept} if len(self._made) >= _MOST else self._made | {id(layout): kept}
        return kept[1]


def stats_of(store: _native.Store, tiered: bool) -> Stats:
    """What a store counts."""
    rows, size, lookups, inserted, missing, refused, lost, evicted = store.counts()
    return Stats(
        rows=rows,
        bytes=size,
        lookups=lookups,
        hits=lookups - inserted - missing - refused,
        inserted=inserted,
        missing=missing,
        refused=refused,
        lost=lost,
        evicted=evicted,
        cold=cold_stats_of(store) if tiered else None,
    )


def cold_stats_of(store: _native.Store) -> ColdStats:
    """What the tier of a store counts."""
    rows, size, segments, memory, spilled, recalled, read, vain, compacted, trouble = store.cold_counts()
    return ColdStats(
        rows=rows,
        bytes=size,
        segments=segments,
        memory=memory,
        spilled=spilled,
        recalled=recalled,
        pages_read=read,
        pages_vain=vain,
        compacted=compacted,
        trouble=trouble,
    )
