"""A replica against a plain dict, against the tables it follows, and under readers that never stop."""

import os
import threading
import time
from typing import get_args

import numpy as np
import pytest
import replicas
from hypothesis import given, settings
from hypothesis import strategies as st
from test_histories import random_batch, random_ids, worlds

from larix.embedding import DeltaLog, Replica, Tables, TableSpec, reference
from larix.embedding.follow import read_delta
from larix.embedding.quantize import Format, decode, encode
from larix.errors import ConfigError, DataError, StorageError

PRECISIONS = get_args(Format)
SPECS = [TableSpec(name="a", dim=3), TableSpec(name="b", dim=8), TableSpec(name="c", dim=3)]
IDS = np.array([0, -1, 1, 2, 3, 5, 8, np.iinfo(np.int64).min, np.iinfo(np.int64).max], np.int64)


def made(precision="fp32", rows=None):
    replica = Replica(SPECS, precision=precision)
    replica.replace(replicas.snapshot(SPECS, 1, {} if rows is None else rows))
    return replica


def held(replica):
    """All that it shows, by table and id."""
    rows = {}
    for name in replica.specs:
        ids = replica.keys(name)
        weights = replica.lookup(name, ids)
        rows[name] = {one: row.tobytes() for one, row in zip(ids.tolist(), weights, strict=True)}
        assert replica.rows(name) == len(ids)
    return rows


class Dict:
    """What a replica has to show, in plain Python."""

    def __init__(self, precision):
        self.precision = precision
        self.rows = {spec.name: {} for spec in SPECS}

    def put(self, name, ids, weights):
        kept = decode(self.precision, encode(self.precision, weights), weights.shape[1])
        self.rows[name].update({one: row.tobytes() for one, row in zip(ids.tolist(), kept, strict=True)})

    def remove(self, name, ids):
        for one in ids.tolist():
            self.rows[name].pop(one, None)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(PRECISIONS), st.integers(0, 2**32), st.integers(1, 25))
def test_a_random_history_shows_what_a_dict_holds(precision, seed, steps):
    rng, replica, oracle, sequence = np.random.default_rng(seed), Replica(SPECS, precision=precision), None, 0
    oracle = Dict(precision)
    for _ in range(steps):
        put, removed = {}, {}
        for spec in SPECS:
            ids = rng.permutation(IDS)[: rng.integers(0, len(IDS) + 1)]
            at = rng.integers(0, len(ids) + 1)
            weights = rng.standard_normal((at, spec.dim)).astype(np.float32)
            put[spec.name], removed[spec.name] = (ids[:at], weights), ids[at:]
        match rng.integers(4):
            case 0:
                fresh = replicas.snapshot(SPECS, sequence := int(rng.integers(1, 100)), put)
                replica.replace(fresh)
                oracle = Dict(precision)
                removed = {}
            case 1:  # a version that fails half way leaves no trace
                broken = replicas.changes(SPECS, sequence + 1, sequence + 1, put, removed)
                broken.tables["c"] = broken.tables["c"]._replace(weights=np.zeros((99, 3), np.float32))
                with pytest.raises(ConfigError, match="weights of table 'c'"):
                    replica.apply(broken)
                put = removed = {}
            case _:
                news = replicas.changes(SPECS, sequence + 1, sequence + 2, put, removed)
                sequence += 2
                assert replica.apply(news)
                before = held(replica)
                assert not replica.apply(news)
                assert held(replica) == before
        for name, gone in removed.items():
            oracle.remove(name, gone)
        for name, (ids, weights) in put.items():
            oracle.put(name, ids, weights)
        assert held(replica) == oracle.rows
        assert (replica.sequence, len(replica)) == (sequence, sum(map(len, oracle.rows.values())))
        asked = rng.choice(IDS, 20)
        nothing = np.zeros(8, np.float32).tobytes()
        expected = [oracle.rows["b"].get(one, nothing) for one in asked.tolist()]
        assert [row.tobytes() for row in replica.lookup("b", asked)] == expected


@settings(deadline=None, max_examples=100)
@given(worlds(), st.integers(0, 2**32), st.sampled_from([1, 3]))
def test_gather_pools_as_tables_do_bit_for_bit(world, seed, threads):
    specs, layout = world
    rng = np.random.default_rng(seed)
    tables, replica = reference.Tables(specs, seed=seed), Replica(specs, threads=threads)
    rows = {}
    for spec in specs:
        tables.lookup(spec.name, random_ids(rng, 8), insert=True)
        rows[spec.name] = tables.items(spec.name)[:2]
    replica.replace(replicas.snapshot(specs, 1, rows))
    for size in (0, 1, 7):
        batch = random_batch(rng, layout, size)
        pooled, history = layout.outputs
        shapes = [(size, pooled.width), (size, history.length, history.width)]
        ours, theirs = ([np.full(shape, 7, np.float32) for shape in shapes] for _ in range(2))
        tables.gather(layout, batch, theirs, insert=False)
        replica.gather(layout, batch, ours)
        assert [out.tobytes() for out in ours] == [out.tobytes() for out in theirs]
    counted, expected = replica.stats(), tables.stats()
    assert (counted.lookups, counted.missing) == (expected.lookups - 8 * len(specs), expected.missing)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("threads", [1, 4])
def test_large_calls_give_every_row_as_it_is_kept_however_many_threads_share_them(precision, threads):
    rng = np.random.default_rng(3)
    ids = np.unique(rng.integers(-(2**62), 2**62, 60_000))
    weights = rng.standard_normal((len(ids), 8)).astype(np.float32)
    replica = Replica(SPECS, precision=precision, threads=threads)
    replica.replace(replicas.snapshot(SPECS, 1, {"b": (ids, weights), "a": (ids, weights[:, :3])}))
    kept = decode(precision, encode(precision, weights), 8)
    asked = rng.permutation(np.concatenate([np.arange(len(ids)), np.full(5000, -1)]))
    found = replica.lookup("b", np.where(asked < 0, 7, ids[asked]))
    assert np.array_equal(found, np.where(asked[:, None] < 0, np.float32(0), kept[asked]))
    assert replica.stats().missing == 5000
    gone = ids[::3]
    replica.apply(replicas.changes(SPECS, 2, 2, {"b": (ids[1::3], -weights[1::3])}, {"b": gone}))
    assert np.array_equal(replica.lookup("b", ids[1::3]), -kept[1::3])
    assert np.array_equal(replica.lookup("b", ids[2::3]), kept[2::3])
    assert not replica.lookup("b", gone).any()
    assert np.array_equal(replica.keys("b"), np.setdiff1d(ids, gone))
    assert np.array_equal(replica.keys("a"), ids)


def test_an_id_without_a_row_reads_the_default_of_its_table_exactly_whatever_the_precision():
    specs = [TableSpec(name="a", dim=3, default=0.1), TableSpec(name="b", dim=3)]
    for precision in PRECISIONS:
        replica = Replica(specs, precision=precision)
        assert (replica.lookup("a", [1, 2]) == np.float32(0.1)).all()
        assert not replica.lookup("b", [1, 2]).any()
        assert replica.stats().missing == 4


def test_a_pooled_sample_of_thousands_of_ids_is_summed_in_order():
    from larix.batch import Batch, Jagged
    from larix.embedding import Layout, Output, Slot

    rng = np.random.default_rng(4)
    weights = rng.standard_normal((5000, 3)).astype(np.float32)
    replica = made(rows={"a": (np.arange(5000), weights)})
    layout = Layout(
        outputs=(Output(name="o", width=3),), slots=(Slot(name="s", table="a", output=0, column=0),)
    )
    offsets = np.array([0, 2, 4000, 4000, 5000], np.int64)
    batch = Batch(
        size=4, ids={"s": Jagged(np.arange(5000), offsets)}, sequences={}, dense=np.zeros((4, 0), np.float32)
    )
    out = np.empty((4, 3), np.float32)
    replica.gather(layout, batch, [out])
    expected = np.zeros((4, 3), np.float32)
    np.add.at(expected, np.repeat(np.arange(4), np.diff(offsets)), weights)
    assert np.array_equal(out, expected)


def test_deltas_of_a_training_store_keep_a_replica_equal_to_it(tmp_path):
    rng = np.random.default_rng(5)
    tables = Tables(SPECS, threads=1)
    log = DeltaLog(tmp_path / "log", tables)
    replica = Replica.load(tmp_path / "log")
    assert len(replica) == 0
    for _ in range(20):
        for spec in SPECS:
            ids = rng.integers(0, 50, 30)
            tables.lookup(spec.name, ids, insert=True)
            tables.update(spec.name, ids, rng.standard_normal((30, spec.dim)).astype(np.float32))
            tables.remove(spec.name, rng.integers(0, 50, 10))
        replica.apply(read_delta(log.append()))
        for name in tables.specs:
            assert np.array_equal(replica.keys(name), tables.keys(name))
            assert np.array_equal(replica.lookup(name, np.arange(50)), tables.lookup(name, np.arange(50)))
    assert replica.instant == log.instant
    again = Replica.load(tmp_path / "log")
    assert (held(again), again.instant) == (held(replica), replica.instant)
    tables.save(tmp_path / "saved")
    saved = Replica.load(tmp_path / "saved", precision="int8")
    ids, weights, _ = tables.items("b")
    assert np.array_equal(saved.lookup("b", ids), decode("int8", encode("int8", weights), 8))


def test_changes_that_leave_a_gap_are_refused_and_change_nothing():
    replica = made(rows={"a": ([1], [[1, 1, 1]])})
    with pytest.raises(StorageError, match="begin with sequence 3 but the rows stand at 1"):
        replica.apply(replicas.changes(SPECS, 3, 3, {"a": ([1], [[2, 2, 2]])}))
    assert replica.lookup("a", [1]).tolist() == [[1, 1, 1]]
    assert replica.sequence == 1


def test_what_does_not_fit_is_named():
    with pytest.raises(ConfigError, match="precision is 'int4'; it must be one of"):
        Replica(SPECS, precision="int4")
    replica = made()
    other = [TableSpec(name="a", dim=4)]
    with pytest.raises(ConfigError, match="table 'a' has dim 4 but the replica's has 3; load a new replica"):
        replica.apply(replicas.changes(other, 2, 2))
    with pytest.raises(ConfigError, match="no table 'x'"):
        replica.lookup("x", [1])
    with pytest.raises(DataError, match="ids are float64"):
        replica.lookup("a", np.zeros(2))
    with pytest.raises(ConfigError, match="out is float32"):
        replica.lookup("a", [1], out=np.empty((2, 3), np.float32))


def test_tables_that_the_replica_was_not_made_with_are_passed_over():
    replica = Replica(SPECS[:1])
    rows = {"a": ([1], [[1, 2, 3]]), "b": ([1], [[0] * 8])}
    replica.replace(replicas.snapshot(SPECS, 1, rows))
    replica.apply(replicas.changes(SPECS, 2, 2, rows | {"a": ([2], [[4, 5, 6]])}))
    assert replica.lookup("a", [1, 2, 3]).tolist() == [[1, 2, 3], [4, 5, 6], [0, 0, 0]]
    assert len(replica) == 2


class Slowly(dict):
    """Tables of changes that come one at a time, when told to."""

    def items(self):
        self.reached, self.go_on = threading.Event(), threading.Event()
        yield from list(super().items())[:2]
        self.reached.set()
        assert self.go_on.wait(30)
        yield from list(super().items())[2:]


def test_readers_see_all_of_a_delta_or_nothing_of_it_and_do_not_wait_while_it_is_being_made():
    replica = made(rows={name: ([1, 2], np.ones((2, dim))) for name, dim in (("a", 3), ("b", 8), ("c", 3))})
    news = replicas.changes(SPECS, 2, 2, {"a": ([1], [[9, 9, 9]]), "c": ([1], [[9, 9, 9]])}, {"b": [1]})
    slow = Slowly(news.tables)
    object.__setattr__(news, "tables", slow)
    writer = threading.Thread(target=replica.apply, args=(news,))
    before = held(replica)
    writer.start()
    while not hasattr(slow, "reached"):
        time.sleep(0.001)
    assert slow.reached.wait(30)
    assert held(replica) == before  # tables a and b are changed by now, c is not
    assert replica.sequence == 1
    slow.go_on.set()
    writer.join()
    assert [replica.lookup(name, [1])[0, 0] for name in "abc"] == [9, 0, 9]
    assert replica.sequence == 2


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_four_readers_never_see_half_a_row_or_half_a_delta(precision):
    """Every row of version v holds 127 * (v % 100 + 1) in all columns, and of ids 0 to 999 half are there."""
    ids, versions = np.arange(1000), 60
    replica, over, seen = Replica(SPECS, precision=precision), threading.Event(), []
    failures: list[str] = []

    def level(version):
        return np.float32(127 * (version % 100 + 1))

    def publish(version):
        put = {spec.name: (ids[version % 2 :: 2], np.full((500, spec.dim), level(version))) for spec in SPECS}
        gone = {spec.name: ids[(version + 1) % 2 :: 2] for spec in SPECS}
        replica.apply(replicas.changes(SPECS, version, version, put, gone))

    def read(seed):
        rng, mine = np.random.default_rng(seed), set()
        while not over.is_set():
            asked = rng.integers(0, 1000, 300)
            found = replica.lookup("b", asked)
            values = np.unique(found)
            there = found[:, 0] != 0
            if (found != found[:, :1]).any():
                failures.append("half a row")
            if len(values) > 2 or len(np.unique(asked[there] % 2)) > 1 or there.all():
                failures.append(f"half a delta: {values}")
            mine.add(float(values[-1]))
        seen.append(mine)

    publish(1)
    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for reader in readers:
        reader.start()
    for version in range(2, versions):
        publish(version)
    over.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert len(set.union(*seen)) > 2, "readers saw too few versions to tell anything"


def test_a_row_takes_no_more_memory_than_is_said():
    ids = np.random.default_rng(6).integers(-(2**62), 2**62, 600_000)
    for precision, most in (("fp32", 64 + 30), ("int8", 20 + 30)):
        spec = TableSpec(name="a", dim=16)
        replica = Replica([spec], precision=precision)
        weights = np.ones((len(ids), 16), np.float32)
        replica.replace(replicas.snapshot([spec], 1, {"a": (ids, weights)}))
        assert most - 14 < replica.stats().bytes / len(ids) < most
        for sequence in range(2, 8):  # rows that are replaced leave their places to those that come
            some = ids[sequence::10]
            replica.apply(replicas.changes([spec], sequence, sequence, {"a": (some, weights[: len(some)])}))
        assert replica.stats().bytes / len(ids) < most * 1.15


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has memory without a name")
def test_readers_of_mapped_rows_see_whole_deltas_only():
    spec, count, versions = TableSpec(name="a", dim=4), 5000, 40
    ids = np.arange(count)

    def rows(version):
        return {"a": (ids, np.full((count, 4), version, np.float32))}

    frozen, mapped = Replica([spec]), Replica([spec])
    frozen.replace(replicas.snapshot([spec], 1, rows(1)))
    frozen.freeze(bytes(32))
    mapped.adopt(frozen.image, bytes(32), frozen.instant)
    wrong, over = [], threading.Event()

    def read(seed):
        rng, last = np.random.default_rng(seed), 1.0
        while not over.is_set():
            seen = np.unique(mapped.lookup("a", rng.choice(ids, 300)))
            if len(seen) != 1 or seen[0] < last:
                wrong.append(seen)
                return
            last = seen[0]

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for reader in readers:
        reader.start()
    for version in range(2, versions):
        assert mapped.apply(replicas.changes([spec], version, version, rows(version)))
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    np.testing.assert_array_equal(frozen.lookup("a", ids), 1.0)
    np.testing.assert_array_equal(mapped.lookup("a", ids), versions - 1)
