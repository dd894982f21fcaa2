"""Random histories on the oracle and on the native store with 1 and more threads: all give the same bits."""

from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from versions import contents

from larix.batch import Batch, History, Jagged
from larix.embedding import (
    FTRL,
    LAMB,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ByChance,
    ByCount,
    Constant,
    CosineDecay,
    FeatureScore,
    Layout,
    LeastFrequent,
    LeastRecent,
    Momentum,
    Normal,
    Output,
    RowAdagrad,
    Slot,
    StepDecay,
    TableSpec,
    Uniform,
    Warmup,
    reference,
    table,
)
from larix.embedding.precision import bf16_of, widened

EXTREMES = np.array([0, -1, 1, np.iinfo(np.int64).min, np.iinfo(np.int64).max], np.int64)
OPTIMIZERS = {
    SGD: {},
    Momentum: {"momentum": [0.0, 0.9], "nesterov": [False, True]},
    Adagrad: {"initial": [0.0, 0.5]},
    RowAdagrad: {"eps": [1e-8, 0.1]},
    Adam: {"beta1": [0.0, 0.9], "beta2": [0.5, 0.999]},
    AdamW: {"beta1": [0.0, 0.9], "weight_decay": [0.0, 0.5]},
    FTRL: {"beta": [0.5, 1.0], "l1": [0.0, 0.3], "l2": [0.0, 0.2], "initial": [0.0, 0.1]},
    LAMB: {"beta2": [0.5, 0.999], "weight_decay": [0.0, 0.5]},
}
SCHEDULES = [None, CosineDecay(steps=9), Warmup(steps=4, then=StepDecay(every=2, ratio=0.7))]
INITS = [Uniform(), Normal(std=0.5), Constant(value=-0.25)]
ADMISSIONS = [None, ByCount(n=2, counters=128), ByCount(n=3, window=40), ByChance(p=0.5)]
EVICTIONS = [
    None,
    LeastRecent(),
    LeastFrequent(half_life=2.5),
    FeatureScore(show=0.3, click=1.7, sequence=0.2, half_life=7.0),
]
PRECISIONS = ["fp32", "bf16", "fp16"]
POOLS = ["sum", "mean", "sequence"]


@st.composite
def optimizers(draw):
    """Any optimizer with its own settings and those all share, small enough clips to be felt."""
    kind = draw(st.sampled_from(list(OPTIMIZERS)))
    choices = OPTIMIZERS[kind] | {"clip_grad": [None, 1.0], "max_norm": [None, 0.5], "schedule": SCHEDULES}
    if "weight_decay" in {field.name for field in fields(kind)}:
        choices = {"weight_decay": [0.0, 0.1]} | choices
    return kind(lr=0.1, **{name: draw(st.sampled_from(values)) for name, values in choices.items()})


@st.composite
def worlds(draw, halves=False):
    """Specs and a layout in which tables, outputs and sequences are shared between slots at random; ``halves``: the pooled
    output may be in bf16.
    """
    specs = [
        TableSpec(
            name=f"t{number}",
            dim=draw(st.sampled_from([1, 3, 8, 16, 17, 33, 100])),
            optimizer=draw(optimizers()),
            init=draw(st.sampled_from(INITS)),
            precision=draw(st.sampled_from(PRECISIONS)),
            admission=draw(st.sampled_from(ADMISSIONS)),
            eviction=draw(st.sampled_from(EVICTIONS)),
            default=draw(st.sampled_from([0.0, 0.3])),
        )
        for number in range(draw(st.integers(1, 4)))
    ]
    length = draw(st.integers(1, 5))
    widths, slots = [0, 0], []
    for number in range(draw(st.integers(0, 6))):
        spec, pool = draw(st.sampled_from(specs)), draw(st.sampled_from(POOLS))
        output = int(pool == "sequence")
        name = f"h.{number}" if output else f"s{number}"
        slots.append(Slot(name=name, table=spec.name, output=output, column=widths[output], pool=pool))
        widths[output] += spec.dim + draw(st.integers(0, 1))  # sometimes a column that no slot writes
    pooled = Output(name="pooled", width=widths[0], bf16=halves and draw(st.booleans()))
    outputs = (pooled, Output(name="h", width=widths[1], length=length))
    return specs, Layout(outputs=outputs, slots=tuple(slots))


def random_ids(rng, count):
    """Few different ids, so that most are repeated, extreme ones among them."""
    return rng.choice(np.concatenate([EXTREMES, rng.integers(-(2**62), 2**62, 3), np.arange(2, 9)]), count)


def random_batch(rng, layout, size):
    ids = {}
    for slot in layout.slots:
        if slot.pool == "sequence":
            continue
        lengths = rng.integers(0, 4, size) if rng.random() < 0.7 else None
        count = size if lengths is None else int(lengths.sum())
        offsets = None if lengths is None else np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        weights = rng.integers(-1, 3, count).astype(np.float32) if rng.random() < 0.5 else None
        ids[slot.name] = Jagged(random_ids(rng, count), offsets, weights)
    lengths = rng.integers(0, layout.outputs[1].length + 1, size)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    elements = [slot.name.split(".")[1] for slot in layout.slots if slot.pool == "sequence"]
    columns = {element: random_ids(rng, int(lengths.sum())) for element in elements}
    history = History(offsets, columns, np.zeros((int(lengths.sum()), 0), np.float32))
    return Batch(size=size, ids=ids, sequences={"h": history}, dense=np.zeros((size, 0), np.float32))


def buffers(layout, size, of):
    """A buffer an output: the float32 that ``of(shape)`` gives, rounded where the layout says so."""
    found = []
    for output in layout.outputs:
        shape = (size, output.length, output.width) if output.length else (size, output.width)
        numbers = of(shape).astype(np.float32)
        found.append(bf16_of(numbers) if output.bf16 else numbers)
    return found


def random_clicks(rng, count):
    return rng.integers(0, 3, count).astype(np.float32) * np.float32(0.7) if rng.random() < 0.7 else None


def replay(tables, layout, seed, steps):
    """Run the history that ``seed`` stands for; return everything that could be seen on the way."""
    rng, seen, pending = np.random.default_rng(seed), [], []
    for _ in range(steps):
        spec = list(tables.specs.values())[rng.integers(len(tables.specs))]
        ids = random_ids(rng, rng.integers(0, 20))
        grads = rng.standard_normal((len(ids), spec.dim)).astype(np.float32)
        state = rng.random((len(ids), spec.state)).astype(np.float32)
        match rng.integers(8):
            case 0:
                seen.append(tables.lookup(spec.name, ids, insert=bool(rng.integers(2))))
            case 1:
                tables.update(
                    spec.name, ids, grads, lr_scale=float(rng.random()), clicks=random_clicks(rng, len(ids))
                )
            case 2:
                tables.put(spec.name, ids, grads, state)
            case 3:
                seen.append(np.array(tables.remove(spec.name, ids[:2])))
            case 4 | 5:
                batch = random_batch(rng, layout, int(rng.integers(0, 8)))
                outs = buffers(layout, batch.size, lambda shape: np.full(shape, 7))
                pending.append(tables.gather(layout, batch, outs, insert=bool(rng.integers(4))))
                seen.extend(outs)
            case _:
                if pending:  # not always the newest: handles outlive what happens in between
                    lookup = pending.pop(rng.integers(len(pending)))
                    given = buffers(layout, lookup.batch.size, rng.standard_normal)
                    tables.apply(lookup, given, clicks=random_clicks(rng, lookup.batch.size))
    for name in tables.specs:
        seen.extend(tables.items(name))
        seen.extend(tables.read(name, EXTREMES))
    held = contents(tables)  # scores, and when rows were seen, with the rest
    counted = asdict(tables.stats())
    del counted["bytes"]
    return [(array.shape, array.tobytes()) for array in seen], counted, held


@settings(deadline=None, max_examples=150)
@given(worlds(halves=True), st.integers(0, 2**32), st.integers(1, 30))
def test_a_random_history_gives_the_same_bits_on_every_store(world, seed, steps):
    specs, layout = world
    expected = replay(reference.Tables(specs, seed=seed), layout, seed, steps)
    assert replay(table.Tables(specs, seed=seed, threads=1), layout, seed, steps) == expected


@settings(deadline=None, max_examples=100)
@given(worlds(), st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([reference.Tables, table.Tables]))
def test_outputs_in_bf16_are_those_in_float32_rounded_and_so_are_their_gradients(world, seed, steps, store):
    specs, layout = world
    pooled, history = layout.outputs
    whole = replace(layout, outputs=(replace(pooled, bf16=False), history))
    half = replace(layout, outputs=(replace(pooled, bf16=True), history))
    stores = [store(specs, seed=seed) for _ in range(2)]
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        batch = random_batch(rng, layout, int(rng.integers(0, 8)))
        outs = [buffers(each, batch.size, lambda shape: np.full(shape, 7)) for each in (whole, half)]
        first, second = (
            tables.gather(each, batch, out)
            for tables, each, out in zip(stores, (whole, half), outs, strict=True)
        )
        np.testing.assert_array_equal(bf16_of(outs[0][0]), outs[1][0])
        np.testing.assert_array_equal(outs[0][1], outs[1][1])
        grads = buffers(half, batch.size, lambda shape: rng.standard_normal(shape) * 1e-3)
        stores[0].apply(first, [widened(grads[0]), grads[1]])
        stores[1].apply(second, grads)
    for name in stores[0].specs:
        for one, other in zip(*(tables.items(name) for tables in stores), strict=True):
            assert one.tobytes() == other.tobytes()


def large_world(bf16=False):
    rules = [SGD(lr=0.1), Adagrad(lr=0.1, initial=0.5), RowAdagrad(lr=0.1, clip_grad=1.0), Adam(lr=0.01)]
    kinds = zip([1, 16, 16, 33], rules, ["fp32", "fp32", "bf16", "fp16"], strict=True)
    specs = [
        TableSpec(name=f"t{number}", dim=dim, optimizer=optimizer, precision=precision)
        for number, (dim, optimizer, precision) in enumerate(kinds)
    ]
    slots = (
        Slot(name="a", table="t0", output=0, column=0, pool="mean"),
        Slot(name="b", table="t1", output=0, column=1),
        Slot(name="c", table="t2", output=0, column=17),
        Slot(name="d", table="t1", output=0, column=33, pool="mean"),
        Slot(name="h.e", table="t3", output=1, column=0, pool="sequence"),
        Slot(name="h.f", table="t2", output=1, column=33, pool="sequence"),
    )
    pooled = Output(name="pooled", width=49, bf16=bf16)
    return specs, Layout(outputs=(pooled, Output(name="h", width=49, length=6)), slots=slots)


def large_batch(rng, size, ids):
    def jagged(most, weighted):
        lengths = rng.integers(0, most + 1, size)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        count = int(offsets[-1])
        weights = rng.random(count).astype(np.float32) if weighted else None
        return Jagged(rng.integers(0, ids, count), offsets, weights)

    slots = {"a": jagged(4, True), "b": Jagged(rng.integers(0, ids, size)), "d": jagged(3, False)}
    slots["c"] = Jagged(rng.integers(0, ids, size), weights=rng.random(size).astype(np.float32))
    one = jagged(6, False)
    columns = {"e": one.values, "f": rng.integers(0, ids, len(one.values))}
    history = History(one.offsets, columns, np.zeros((len(one.values), 0), np.float32))
    return Batch(size=size, ids=slots, sequences={"h": history}, dense=np.zeros((size, 0), np.float32))


def train(tables, layout, steps, size, ids):
    """Steps whose apply comes one gather late, as in a training loop with bounded staleness."""
    rng, late, seen = np.random.default_rng(5), [], []
    for _ in range(steps):
        batch = large_batch(rng, size, ids)
        outs = buffers(layout, size, np.zeros)
        lookup = tables.gather(layout, batch, outs)
        late.append((lookup, buffers(layout, size, rng.standard_normal)))
        if len(late) > 1:
            tables.apply(*late.pop(0))
        seen.append(outs[0].tobytes() + outs[1].tobytes())
    return seen, [array.tobytes() for name in tables.specs for array in tables.items(name)]


@pytest.mark.parametrize("bf16", [False, True])
def test_large_steps_give_the_same_bits_as_the_oracle_for_any_number_of_threads(bf16):
    specs, layout = large_world(bf16)
    expected = train(reference.Tables(specs), layout, steps=6, size=2000, ids=3000)
    for threads in (1, 2, 3, 4):
        assert train(table.Tables(specs, threads=threads), layout, steps=6, size=2000, ids=3000) == expected


def test_growth_from_empty_to_a_hundred_thousand_rows_loses_none():
    ids = np.random.default_rng(1).integers(np.iinfo(np.int64).min, np.iinfo(np.int64).max, 100_000)
    ids[: len(EXTREMES)] = EXTREMES
    specs = [TableSpec(name="a", dim=3), TableSpec(name="b", dim=3)]
    stores = [reference.Tables(specs), table.Tables(specs, threads=1), table.Tables(specs, threads=4)]
    for tables in stores:
        for piece in np.split(ids, 10):
            tables.lookup("a", piece, insert=True)
            tables.lookup("b", piece[::2].copy(), insert=True)
    expected = [array.tobytes() for name in "ab" for array in stores[0].items(name)]
    for tables in stores[1:]:
        assert (tables.rows("a"), tables.rows("b")) == (100_000, 50_000)
        assert [array.tobytes() for name in "ab" for array in tables.items(name)] == expected


def test_rows_removed_and_born_again_by_the_thousand_keep_the_index_whole():
    rng = np.random.default_rng(2)
    stores = [
        reference.Tables([TableSpec(name="a", dim=1)]),
        table.Tables([TableSpec(name="a", dim=1)], threads=1),
    ]
    for _ in range(30):
        born, gone = rng.integers(0, 20_000, 2_000), rng.integers(0, 20_000, 2_000)
        removed = []
        for tables in stores:
            tables.lookup("a", born, insert=True)
            removed.append(tables.remove("a", gone))
        assert removed[0] == removed[1]
        for left, right in zip(stores[0].items("a"), stores[1].items("a"), strict=True):
            assert np.array_equal(left, right)


def test_a_small_call_after_a_large_one_counts_its_own_ids_alone():
    tables = table.Tables([TableSpec(name="a", dim=1)], threads=4)
    tables.lookup("a", np.arange(10_000))  # on all threads, nothing found
    tables.lookup("a", np.arange(3), insert=True)
    stats = tables.stats()
    assert (stats.rows, stats.lookups, stats.missing, stats.inserted) == (3, 10_003, 10_000, 3)
