"""A reading of a replica: one version over several calls, whatever the writer does meanwhile."""

import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import replicas
from hypothesis import given, settings
from hypothesis import strategies as st
from test_histories import random_batch, random_ids, worlds

from larix.embedding import Replica, TableSpec
from larix.embedding.layout import Layout, Output, Slot, slot_ids
from larix.errors import ConfigError, DataError

SPECS = [TableSpec(name="a", dim=3), TableSpec(name="b", dim=8, default=0.5)]
IDS = np.arange(40)


def rows_of(version, rng):
    """Some ids of each table, all weights of which are the version's number."""
    some = {spec.name: rng.permutation(IDS)[: rng.integers(0, 40)] for spec in SPECS}
    return {
        spec.name: (some[spec.name], np.full((len(some[spec.name]), spec.dim), version)) for spec in SPECS
    }


def shown(state, spec, ids):
    """What lookups of a dict by id give."""
    return np.array(
        [[state[spec.name].get(one, spec.default)] * spec.dim for one in ids.tolist()], np.float32
    )


def missing_of(replica, layout, batch):
    there = {name: replica.keys(name) for name in replica.specs}
    asked = zip(layout.slots, slot_ids(layout, batch), strict=True)
    return [int((~np.isin(jagged.values, there[slot.table])).sum()) for slot, jagged in asked]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_a_reading_shows_the_state_at_its_begin_until_it_ends_and_the_next_one_the_newest(seed, versions):
    rng, replica = np.random.default_rng(seed), Replica(SPECS)
    state = {spec.name: {} for spec in SPECS}
    for version in range(1, versions + 1):
        put, former = rows_of(version, rng), {name: dict(rows) for name, rows in state.items()}
        gone = {spec.name: np.setdiff1d(rng.permutation(IDS)[:9], put[spec.name][0]) for spec in SPECS}
        for name, (ids, weights) in put.items():
            state[name] |= dict(zip(ids.tolist(), weights[:, 0].tolist(), strict=True))
            for one in gone[name].tolist():
                state[name].pop(one, None)
        with replica.reading() as rows:
            assert rows.sequence == version - 1
            assert (rows.instant is None) == (version == 1)
            writer = threading.Thread(
                target=replica.apply, args=(replicas.changes(SPECS, version, version, put, gone),)
            )
            writer.start()
            while rng.random() < 0.8:
                spec = SPECS[rng.integers(2)]
                asked = rng.integers(0, 45, 20)
                assert np.array_equal(rows.lookup(spec.name, asked), shown(former, spec, asked))
            assert writer.is_alive(), "the writer may not end a version that is being read"
        writer.join(30)
        with replica.reading() as rows:
            assert (rows.sequence, rows.instant) == (version, replicas.instant(version))
            for spec in SPECS:
                assert np.array_equal(rows.lookup(spec.name, IDS), shown(state, spec, IDS))


@settings(deadline=None, max_examples=60)
@given(worlds(), st.integers(0, 2**32), st.sampled_from([1, 3]))
def test_several_gathers_and_lookups_give_what_single_calls_do_and_the_ids_without_a_row_by_slot(
    world, seed, threads
):
    specs, layout = world
    rng, replica = np.random.default_rng(seed), Replica(specs, threads=threads)
    rows = {}
    for spec in specs:
        ids = np.unique(random_ids(rng, 8))
        rows[spec.name] = (ids, rng.standard_normal((len(ids), spec.dim)))
    replica.replace(replicas.snapshot(specs, 1, rows))
    lookups = missed = 0
    with replica.reading() as reading:
        for size in (0, 1, 7):
            batch = random_batch(rng, layout, size)
            pooled, history = layout.outputs
            shapes = [(size, pooled.width), (size, history.length, history.width)]
            ours, theirs = ([np.full(shape, 7, np.float32) for shape in shapes] for _ in range(2))
            missing = reading.gather(layout, batch, ours)
            assert missing.dtype == np.int64
            assert missing.tolist() == missing_of(replica, layout, batch)
            assert replica.gather(layout, batch, theirs).tolist() == missing.tolist()
            assert [out.tobytes() for out in ours] == [out.tobytes() for out in theirs]
            lookups += 2 * sum(len(jagged.values) for jagged in slot_ids(layout, batch))
            missed += 2 * int(missing.sum())
        out = np.empty((9, specs[0].dim), np.float32)
        asked = random_ids(rng, 9)
        assert reading.lookup(specs[0].name, asked, out=out) is out
        assert np.array_equal(out, replica.lookup(specs[0].name, asked))
    stats = replica.stats()
    missed += 2 * int((~np.isin(asked, rows[specs[0].name][0])).sum())
    assert (stats.lookups, stats.missing) == (lookups + 18, missed)


def test_large_gathers_count_ids_without_a_row_by_slot_however_many_threads_share_them():
    from larix.batch import Batch, Jagged
    from larix.embedding import Layout, Output, Slot

    slots = tuple(Slot(name=f"s{n}", table="a", output=0, column=3 * n) for n in range(3))
    layout = Layout(outputs=(Output(name="o", width=9),), slots=slots)
    replica = Replica(SPECS, threads=4)
    replica.replace(replicas.snapshot(SPECS, 1, {"a": (np.arange(6000), np.ones((6000, 3)))}))
    ids = {f"s{n}": Jagged(np.arange(9000) % (6000 + n)) for n in range(3)}
    batch = Batch(size=9000, ids=ids, sequences={}, dense=np.zeros((9000, 0), np.float32))
    out = np.empty((9000, 9), np.float32)
    with replica.reading() as rows:
        for _ in range(20):
            assert rows.gather(layout, batch, [out]).tolist() == [0, 1, 2]


def test_an_output_in_bf16_is_refused():
    from larix.batch import Batch, Jagged
    from larix.embedding import Layout, Output, Slot

    replica = Replica(SPECS)
    slots = (Slot(name="s", table="a", output=0, column=0),)
    layout = Layout(outputs=(Output(name="o", width=3, bf16=True),), slots=slots)
    batch = Batch(
        size=1, ids={"s": Jagged(np.zeros(1, np.int64))}, sequences={}, dense=np.zeros((1, 0), np.float32)
    )
    with pytest.raises(ConfigError, match=r"outputs \['o'\] are bf16; a replica looks up float32 only"):
        replica.gather(layout, batch, [np.zeros((1, 3), np.uint16)])


def test_readings_never_see_two_versions_while_a_writer_publishes_without_a_pause():
    """Version v holds v in all columns of both tables, for the ids whose parity is v's; every reading asks many times."""
    replica, over, seen, failures = Replica(SPECS), threading.Event(), set(), []

    def publish(version):
        mine, others = IDS[version % 2 :: 2], IDS[(version + 1) % 2 :: 2]
        put = {spec.name: (mine, np.full((20, spec.dim), version)) for spec in SPECS}
        replica.apply(replicas.changes(SPECS, version, version, put, dict.fromkeys("ab", others)))

    def read():
        while not over.is_set():
            with replica.reading() as rows:
                version = rows.sequence
                for turn in range(6):
                    spec = SPECS[turn % 2]
                    there = (version % 2 == IDS % 2)[:, None]
                    expected = np.where(there, np.float32(version), np.float32(spec.default))
                    if not (rows.lookup(spec.name, IDS) == expected).all():
                        failures.append(f"version {version}, table {spec.name}, call {turn}")
            seen.add(version)

    publish(1)
    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    version = 1
    while version < 300 or (len(seen) < 10 and version < 100_000):
        publish(version := version + 1)
    over.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert len(seen) >= 10, "readers saw too few versions to tell anything"


def test_a_writer_that_would_wait_for_its_own_reading_is_told_so_and_others_are_not():
    replica = Replica(SPECS)
    news = replicas.changes(SPECS, 1, 1)
    with replica.reading(), pytest.raises(ConfigError, match="this thread has a reading of the replica open"):
        replica.apply(news)
    with pytest.raises(RuntimeError), replica.reading():
        raise RuntimeError
    assert replica.apply(news), "the reading has ended, though by an error"
    held = replica.reading()
    assert held.__enter__().sequence == 1
    del held  # nobody ended it, nobody can use it: the next version does not wait for it
    replica._readers.clear()
    assert replica.apply(replicas.changes(SPECS, 2, 2))


def test_what_does_not_fit_a_reading_is_named_and_one_that_has_ended_reads_nothing():
    replica = Replica(SPECS)
    with replica.reading() as rows:
        with pytest.raises(ConfigError, match="no table 'x'"):
            rows.lookup("x", [1])
        with pytest.raises(DataError, match="ids are float64"):
            rows.lookup("a", np.zeros(2))
    with pytest.raises(AssertionError, match="inside of its with statement"):
        rows.lookup("a", [1])


def filled(layout, size):
    pooled, history = layout.outputs
    shapes = [(size, pooled.width), (size, history.length, history.width)]
    return [np.full(shape, 7, np.float32) for shape in shapes]


def packed(layout, batch):
    """The batch's ids side by side, others between them; weights are left out."""
    ids, found, offsets, at = [np.array([5, 6])], [], [], 2
    for jagged in slot_ids(layout, batch):
        found.append((at, len(jagged.values), -1 if jagged.offsets is None else len(offsets)))
        if jagged.offsets is not None:
            offsets.append(jagged.offsets)
        ids += [jagged.values, np.array([7])]
        at += len(jagged.values) + 1
    table = np.array(offsets, np.int64).reshape(len(offsets), batch.size + 1)
    return np.concatenate(ids), np.array(found, np.int64).reshape(-1, 3), table


@settings(deadline=None, max_examples=60)
@given(worlds(), st.integers(0, 2**32), st.lists(st.integers(0, 4), max_size=5))
def test_a_gather_of_ids_side_by_side_is_that_of_the_same_slot_by_slot(world, seed, sizes):
    specs, layout = world
    rng, replica = np.random.default_rng(seed), Replica(specs)
    ids = np.unique(random_ids(rng, 8))
    rows = {spec.name: (ids, rng.standard_normal((len(ids), spec.dim))) for spec in specs}
    replica.replace(replicas.snapshot(specs, 1, rows))
    batch = random_batch(rng, layout, sum(sizes))
    plain = {name: replace(jagged, weights=None) for name, jagged in batch.ids.items()}
    batch = replace(batch, ids=plain)
    ours, theirs = (filled(layout, batch.size) for _ in range(2))
    given = packed(layout, batch)
    with replica.reading() as reading:
        missing = reading.gather_packed(layout, given, ours, sizes)
        np.testing.assert_array_equal(missing, reading.gather_parts(layout, batch, theirs, sizes))
        assert [out.tobytes() for out in ours] == [out.tobytes() for out in theirs]
        with pytest.raises(DataError, match="are no parts of a batch"):
            reading.gather_packed(layout, given, ours, [*sizes, 1])


def test_slots_side_by_side_that_do_not_fit_are_refused():
    layout = Layout(
        outputs=(Output(name="pooled", width=2), Output(name="h", width=2, length=2)),
        slots=(
            Slot(name="x", table="a", output=0, column=0, pool="sum"),
            Slot(name="h.x", table="a", output=1, column=0, pool="sequence"),
        ),
    )
    outs = [np.zeros((2, 2), np.float32), np.zeros((2, 2, 2), np.float32)]
    ids, good = np.arange(5), [[0, 2, -1], [2, 3, 0]]
    with Replica([TableSpec(name="a", dim=2)]).reading() as rows:

        def ask(found, offsets, buffers=outs):
            table = np.array([offsets], np.int64)
            return rows.gather_packed(layout, (ids, np.array(found), table), buffers, [2])

        assert ask(good, [0, 1, 3]).tolist() == [[2, 3]]
        for offsets in ([0, 3, 3], [1, 2, 3], [0, 2, 1], [0, 1, 2]):
            with pytest.raises(DataError, match=r"offsets of slot 'h\.x'"):
                ask(good, offsets)
        with pytest.raises(DataError, match="offsets of slot 'x'"):
            ask([[0, 3, -1], [2, 3, 0]], [0, 1, 3])
        for wrong in ([3, 3, 0], [-1, 3, 0], [2, -1, 0], [2, 3, 1], [2, 3, -2], [2**62, 2**62, 0]):
            with pytest.raises(ValueError, match="lies outside"):
                ask([good[0], wrong], [0, 1, 3])
        with pytest.raises(ValueError, match="not those of the layout"):
            ask(good[:1], [0, 1, 3])
        with pytest.raises(ConfigError, match="output 'h'"):
            ask(good, [0, 1, 3], [outs[0], outs[1][:, :1]])


@settings(deadline=None, max_examples=60)
@given(worlds(), st.integers(0, 2**32), st.lists(st.integers(0, 4), max_size=5))
def test_a_gather_by_parts_is_that_of_the_whole_and_counts_as_gathers_of_each_part_do(world, seed, sizes):
    specs, layout = world
    rng, replica = np.random.default_rng(seed), Replica(specs)
    ids = np.unique(random_ids(rng, 8))
    rows = {spec.name: (ids, rng.standard_normal((len(ids), spec.dim))) for spec in specs}
    replica.replace(replicas.snapshot(specs, 1, rows))
    batch = random_batch(rng, layout, sum(sizes))
    ours, theirs = (filled(layout, batch.size) for _ in range(2))
    with replica.reading() as reading:
        missing = reading.gather_parts(layout, batch, ours, sizes)
        whole = reading.gather(layout, batch, theirs)
        assert [out.tobytes() for out in ours] == [out.tobytes() for out in theirs]
        assert (missing.dtype, missing.shape) == (np.int64, (len(sizes), len(layout.slots)))
        assert missing.sum(axis=0).tolist() == whole.tolist()
        for wrong in ([*sizes, 1], [-1, *sizes, 1]):
            with pytest.raises(DataError, match="are no parts of a batch"):
                reading.gather_parts(layout, batch, ours, wrong)
    there = {name: replica.keys(name) for name in replica.specs}
    for slot, jagged, found in zip(layout.slots, slot_ids(layout, batch), missing.T.tolist(), strict=True):
        lacking = ~np.isin(jagged.values, there[slot.table])
        offsets = np.arange(batch.size + 1) if jagged.offsets is None else jagged.offsets
        ends = offsets[np.cumsum([0, *sizes])]
        assert found == [int(lacking[start:end].sum()) for start, end in pairwise(ends)]
