"""A snapshot is one instant, whatever happens while it is read."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from versions import contents, do, held, make

from larix.embedding import SGD, Adam, DeltaLog, Follower, LeastRecent, TableSpec, reference, snapshot, table
from larix.errors import ConfigError, StorageError


def replay(tables, seed, calls, taken=lambda tables: None, between=lambda: None):
    """The history that ``seed`` stands for; ``taken`` sees the store before some of its calls."""
    rng = np.random.default_rng(seed)
    for call in range(calls):
        if call % 5 == 2:
            taken(tables)
        do(tables, rng, most=400)
        between()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(3, 40), st.integers(0, 60), st.sampled_from([4096, 1 << 20]))
def test_snapshots_read_while_rows_change_are_their_instants(seed, calls, pace, memory):
    expected, instants = [], []
    oracle = make(reference.Tables)
    replay(oracle, seed, calls, lambda tables: expected.append(contents(tables)))
    under_way, tables = [], make(table.Tables, threads=2)

    def take(tables):
        instants.append(tables.snapshot(memory=memory))
        under_way.append(SimpleNamespace(pieces=iter(instants[-1]), read=[]))

    def read_on():
        for one in under_way:
            one.read += [piece for _, piece in zip(range(pace), one.pieces, strict=False)]

    replay(tables, seed, calls, take, read_on)
    for one, snap, rows in zip(under_way, instants, expected, strict=True):
        one.read += list(one.pieces)
        assert held(one.read) == rows
        snap.close()
    assert contents(tables) == contents(oracle)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(snapshot, "PIECE_BYTES", 3000)


def test_rows_that_are_removed_changed_and_born_meanwhile_are_in_it_as_they_were(store, small_pieces):
    tables = store([TableSpec(name="a", dim=4), TableSpec(name="b", dim=4)])
    ids = np.arange(5000)
    tables.lookup("a", ids, insert=True)
    tables.lookup("b", ids[:99], insert=True)
    before = contents(tables)
    with tables.snapshot() as taken:
        pieces = iter(taken)
        read = [next(pieces)]
        tables.remove("a", ids[::2])
        tables.update("a", ids[1::2], np.ones((2500, 4), np.float32))
        tables.lookup("a", np.arange(10_000, 13_000), insert=True)  # in the places of those that went
        tables.put("b", ids, np.ones((5000, 4), np.float32), np.ones((5000, 1), np.float32))
        read += list(pieces)
    assert held(read) == before
    assert tables.rows("a") == 5500


def test_old_rows_beyond_the_memory_go_to_a_file_and_come_back(small_pieces, tmp_path):
    tables = table.Tables(
        [TableSpec(name="a", dim=16), TableSpec(name="b", dim=5, optimizer=SGD())], threads=2
    )
    ids = np.arange(60_000)
    for name in tables.specs:
        tables.lookup(name, ids, insert=True)
    before = contents(tables)
    with tables.snapshot(memory=1 << 18, folder=tmp_path) as taken:
        for name, spec in tables.specs.items():
            tables.update(name, ids, np.ones((len(ids), spec.dim), np.float32))
        assert held(taken) == before
        memory, file = taken.held()
    assert file > 60_000 * (24 + 68 + 24 + 20)
    assert 1 << 16 < memory <= 1 << 18
    assert list(tmp_path.iterdir()) == [], "the file has no name"
    with tables.snapshot() as taken:
        list(taken)
        assert taken.held()[1] == 0


def test_a_snapshot_whose_file_cannot_be_written_is_given_up_and_training_goes_on(tmp_path):
    tables = table.Tables([TableSpec(name="a", dim=16)])
    ids = np.arange(10_000)
    tables.lookup("a", ids, insert=True)
    with tables.snapshot(memory=1 << 14, folder=tmp_path / "nowhere") as taken:
        tables.update("a", ids, np.ones((len(ids), 16), np.float32))
        with pytest.raises(StorageError, match=r"snapshot is given up: .*nowhere': No such file"):
            list(taken)
    assert len(contents(tables)) == 10_000
    with pytest.raises(ConfigError, match="memory is 10 bytes"):
        tables.snapshot(memory=10)


def test_a_snapshot_that_is_left_gives_nothing_more_and_holds_nothing(store):
    tables = make(store)
    tables.lookup("plain", np.arange(9), insert=True)
    with tables.snapshot() as taken:
        pass
    assert list(taken) == []
    taken.close()
    assert len(contents(tables)) == 9


class Trainer(threading.Thread):
    """Steps a table of its own; row -1 counts the steps, every row's history follows from their number."""

    def __init__(self, tables, name, stop):
        super().__init__()
        self.tables, self.name, self.stop = tables, name, stop

    def run(self):
        for step in range(10**9):
            if self.stop.is_set():
                return
            train(self.tables, self.name, step)


def train(tables, name, step):
    """One call of update, all of whose rows are there."""
    rng = np.random.default_rng([step, int(name)])
    ids = np.append(rng.integers(0, 3000, 4000), -1)
    grads = rng.standard_normal((len(ids), 8)).astype(np.float32)
    grads[-1] = -1
    tables.update(name, ids, grads)


def test_a_snapshot_taken_while_four_threads_train_is_one_instant_of_them_all(monkeypatch):
    monkeypatch.setattr(snapshot, "PIECE_BYTES", 1 << 14)
    specs = [TableSpec(name=str(i), dim=8, optimizer=SGD(lr=1.0) if i % 2 else Adam()) for i in range(4)]
    specs += [TableSpec(name=f"steps {i}", dim=8, optimizer=SGD(lr=1.0)) for i in range(4)]
    tables, stop = table.Tables(specs, threads=2), threading.Event()
    ids = np.append(np.arange(3000), -1)
    for spec in specs:
        shape = (len(ids), spec.dim), (len(ids), spec.state)
        tables.put(spec.name, ids, np.zeros(shape[0], np.float32), np.zeros(shape[1], np.float32))
    trainers = [Trainer(tables, str(i), stop) for i in range(4)]
    for trainer in trainers:
        trainer.start()
    taken = []
    while len(taken) < 4:
        with tables.snapshot(memory=1 << 16) as one:
            taken.append((one.instant.steps, held(one)))
    stop.set()
    for trainer in trainers:
        trainer.join()
    assert taken[-1][0] > taken[0][0], "nothing was trained meanwhile"
    oracle, done = reference.Tables(specs), dict.fromkeys("0123", 0)
    for spec in specs:
        shape = (len(ids), spec.dim), (len(ids), spec.state)
        oracle.put(spec.name, ids, np.zeros(shape[0], np.float32), np.zeros(shape[1], np.float32))
    for steps, rows in taken:
        for name in done:
            counter = rows[name, -1]
            count = np.frombuffer(counter[0 if int(name) % 2 else 1], np.float32)[-1]
            while done[name] < count:
                train(oracle, name, done[name])
                done[name] += 1
        assert sum(done.values()) == steps, "the tables are of different instants"
        assert contents(oracle) == rows


def evicting(background):
    """A store with room for a good part of the ids that it meets."""
    specs = [TableSpec(name=name, dim=8, eviction=LeastRecent()) for name in "ab"]
    return table.Tables(specs, threads=2, memory_budget="8MiB", background=background)


def meet(tables, rng, calls):
    for _ in range(calls):
        for name in tables.specs:
            ids = rng.integers(0, 200_000, 5000)
            tables.lookup(name, ids, insert=True)
            tables.update(name, ids, rng.standard_normal((len(ids), 8)).astype(np.float32))


def test_rows_that_are_evicted_while_a_snapshot_is_read_are_in_it():
    tables, rng = evicting(background=False), np.random.default_rng(1)
    meet(tables, rng, 20)
    before, evicted = contents(tables), tables.stats().evicted
    with tables.snapshot(memory=1 << 16) as taken:
        meet(tables, rng, 20)
        assert tables.stats().evicted > evicted + 10_000
        assert held(taken) == before


def test_what_is_evicted_behind_the_scenes_is_in_the_changes(tmp_path):
    tables, rng = evicting(background=True), np.random.default_rng(2)
    log = DeltaLog(tmp_path, tables)
    compared = turns = 0
    while turns < 40 or (compared == 0 and turns < 1000):
        turns += 1
        meet(tables, rng, 2)
        log.append()
        with tables.snapshot() as taken:
            if taken.instant == log.instant:  # nothing was evicted in between
                assert held(taken) == held(Follower(tmp_path).rows().values())
                compared += 1
    assert tables.stats().evicted > 10_000
    assert compared > 0
