"""A store whose rows may lie on disk is a store like any other: histories are those of the oracle, to the bit."""

import os
import resource
import shutil
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from restless import AMPLE, stores_in
from test_histories import large_world, replay, train, worlds

from larix.embedding import SGD, Adam, Constant, DeltaLog, RowAdagrad, TableSpec, reference, table
from larix.errors import ConfigError, StorageError

PLAIN = TableSpec(name="a", dim=2, optimizer=SGD(lr=1.0), init=Constant(value=10.0))
MB = 1 << 20


def filled(tmp_path, rows=1000, **settings):
    """Rows 0 to n - 1 on disk, whose weights are [id, 10 * id]."""
    tables = table.Tables([PLAIN], threads=1, cold=tmp_path / "cold", memory_budget=AMPLE, **settings)
    ids = np.arange(rows)
    weights = np.stack([ids, 10 * ids], axis=1).astype(np.float32)
    tables.put("a", ids, weights, np.zeros((rows, 0), np.float32))
    assert tables._core.spill(1, ids) == rows
    return tables, ids, weights


def cold(tables):
    return tables.stats().cold


@settings(deadline=None, max_examples=60)
@given(worlds(), st.integers(0, 2**32), st.integers(1, 25), st.booleans())
def test_a_random_history_is_the_same_when_rows_come_and_go(tmp_path_factory, world, seed, steps, background):
    specs, layout = world
    tables = stores_in(tmp_path_factory.mktemp("cold"))(specs, seed=seed, threads=1, background=background)
    seen, counted, held = replay(tables, layout, seed, steps)
    assert counted.pop("cold")["rows"] >= 0
    counted["cold"] = None
    assert (seen, counted, held) == replay(reference.Tables(specs, seed=seed), layout, seed, steps)


@pytest.mark.parametrize(("threads", "background"), [(1, False), (4, True)])
def test_late_gradients_of_several_groups_find_rows_that_were_away(tmp_path, threads, background):
    specs, layout = large_world()
    steps = {"steps": 8, "size": 1000, "ids": 20_000}
    expected = train(reference.Tables(specs), layout, **steps)
    free = table.Tables(specs)
    train(free, layout, **steps)
    tables = table.Tables(
        specs,
        threads=threads,
        background=background,
        cold=tmp_path,
        memory_budget=free.stats().bytes * 4 // 5,
    )
    assert train(tables, layout, **steps) == expected
    assert cold(tables).recalled > 1000
    assert tables.stats().lost == 0


@pytest.mark.parametrize(
    ("dim", "optimizer", "background"), [(64, RowAdagrad(lr=0.1), True), (25, Adam(lr=0.01), False)]
)
def test_data_ten_times_the_budget_trains_to_the_same_bits_as_in_memory(tmp_path, dim, optimizer, background):
    spec, rows = TableSpec(name="a", dim=dim, optimizer=optimizer), 300_000
    free = table.Tables([spec], threads=1)
    rng = np.random.default_rng(3)
    all_ids = rng.integers(-(2**63), 2**63, rows)
    free.lookup("a", all_ids, insert=True)
    budget = free.stats().bytes // 10
    free = table.Tables([spec], threads=1)
    tight = table.Tables([spec], threads=1, memory_budget=budget, cold=tmp_path, background=background)
    peak = 0
    for _ in range(2):
        rng.shuffle(all_ids)
        for ids in np.split(all_ids, 150):
            ids = np.concatenate([ids, rng.choice(all_ids, 500)])
            grads = rng.standard_normal((len(ids), dim)).astype(np.float32)
            assert np.array_equal(free.lookup("a", ids, insert=True), tight.lookup("a", ids, insert=True))
            free.update("a", ids, grads)
            tight.update("a", ids, grads)
            peak = max(peak, tight.stats().bytes)
    assert peak <= budget  # what compaction takes is charged as it goes
    assert tight.rows("a") == rows
    assert cold(tight).rows > 0.9 * rows
    assert cold(tight).recalled > 0.9 * rows
    for left, right in zip(free.items("a"), tight.items("a"), strict=True):
        assert left.tobytes() == right.tobytes()


@contextmanager
def starved():
    """A core for the calling thread; threads that are started meanwhile get there what it leaves."""
    cores, before = os.sched_getaffinity(0), set(os.listdir("/proc/self/task"))

    def starve():
        for thread in set(os.listdir("/proc/self/task")) - before:
            os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))

    os.sched_setaffinity(0, {min(cores)})
    try:
        yield starve
    finally:
        os.sched_setaffinity(0, cores)


def test_the_budget_holds_and_files_stay_few_if_the_thread_beside_gets_no_core(tmp_path):
    spec, rows = TableSpec(name="a", dim=64, optimizer=RowAdagrad(lr=0.1)), 200_000
    budget, rng, peak = rows * 30, np.random.default_rng(3), 0
    all_ids = rng.integers(-(2**63), 2**63, rows)
    with starved() as starve:
        tables = table.Tables([spec], threads=1, memory_budget=budget, cold=tmp_path)
        starve()
        for ids in np.split(all_ids, 100) + np.split(rng.permutation(all_ids), 100):
            tables.lookup("a", ids, insert=True)
            peak = max(peak, tables.stats().bytes)
            tables.update("a", ids, np.ones((len(ids), 64), np.float32))
            peak = max(peak, tables.stats().bytes)
            assert cold(tables).segments <= 96  # native/tier.cpp; 50 to 64 as a rule
    assert peak <= budget
    assert cold(tables).rows > 0.9 * rows


@pytest.mark.parametrize("budget", [3.6, 3.8, 4.0, 4.2, 4.6])
def test_a_budget_that_is_hardly_enough_is_kept_or_refused(tmp_path, budget):
    """Two groups merge at once, on a thread beside, while few rows are left in memory that could make room for that."""
    specs = [TableSpec(name="a", dim=64, optimizer=Adam()), TableSpec(name="b", dim=3, optimizer=SGD())]
    tables = table.Tables(specs, threads=2, cold=tmp_path, memory_budget=int(budget * MB))
    rng = np.random.default_rng(0)
    said = ""
    try:
        for _ in range(150):
            for name in "ab":
                tables.lookup(name, rng.integers(0, 4000, 100), insert=True)
                assert tables.stats().bytes <= budget * MB
    except (ConfigError, StorageError) as error:
        said = str(error)
    assert "memory budget" in said if budget < 4.4 else not said


def test_rows_on_disk_are_read_listed_counted_put_and_removed_like_others(tmp_path):
    tables, ids, weights = filled(tmp_path)
    assert (cold(tables).rows, tables.rows("a"), len(tables)) == (1000, 1000, 1000)
    assert np.array_equal(tables.keys("a"), ids)
    assert np.array_equal(tables.read("a", ids)[0], weights)
    assert cold(tables).rows == 1000  # reading moves nothing
    assert tables.remove("a", np.array([5, 5, 6, 2000])) == 2
    tables.put("a", ids[7:8], np.ones((1, 2), np.float32), np.zeros((1, 0), np.float32))
    tables.update("a", ids[8:9], np.ones((1, 2), np.float32))
    assert np.array_equal(tables.lookup("a", ids[4:10]), [[4, 40], [0, 0], [0, 0], [1, 1], [7, 79], [9, 90]])
    stats = tables.stats()
    assert (stats.rows, stats.missing, stats.lost, stats.inserted) == (998, 2, 0, 0)
    assert (stats.cold.rows, stats.cold.recalled) == (994, 6)


def test_a_store_with_cold_rows_is_saved_and_loaded_whole(tmp_path):
    tables, _, weights = filled(tmp_path)
    tables.save(tmp_path / "saved")
    again = table.Tables.load(tmp_path / "saved", cold=tmp_path / "other", memory_budget=8 * MB)
    assert np.array_equal(again.items("a")[1], weights)


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*") if path.name != "lock")


def died(folder):
    """Three groups' rows on disk, a merge that had begun, and nobody left who knows of them."""
    specs = [replace(PLAIN, name=name, dim=dim) for name, dim in (("a", 2), ("b", 3), ("c", 4))]
    tables, aside = table.Tables(specs, cold=folder, memory_budget=AMPLE), folder.with_name("aside")
    for number, spec in enumerate(specs, 1):
        tables.lookup(spec.name, np.arange(1000), insert=True)
        assert tables._core.spill(number, np.arange(1000)) == 1000
    shutil.copytree(folder, aside)
    del tables
    assert not files_in(folder), "a store that is closed keeps its scratch"
    shutil.rmtree(folder)
    aside.rename(folder)
    (folder / "1" / "000000000001-000000000004.segment.part").write_bytes(b"half")
    assert len(files_in(folder)) == 4


def test_a_delta_of_more_rows_than_memory_holds_is_loaded(tmp_path):
    """All that changed since the base may be more than the budget, when rows beyond it are on disk."""
    spec = TableSpec(name="a", dim=64, optimizer=Adam())
    settings = {"memory_budget": 6 * MB, "threads": 1}
    tables = table.Tables([spec], cold=tmp_path / "cold", **settings)
    log = DeltaLog(tmp_path / "log", tables)
    for ids in np.split(np.arange(20_000), 200):
        tables.lookup("a", ids, insert=True)
        tables.update("a", ids, np.ones((len(ids), 64), np.float32))
    assert log.append().name == "delta-0000000002"
    again = table.Tables.load(tmp_path / "log", cold=tmp_path / "other", **settings)
    assert cold(again).rows > 10_000
    for one, other in zip(again.items("a"), tables.items("a"), strict=True):
        assert one.tobytes() == other.tobytes()


def test_an_earlier_process_leaves_nothing_that_is_read_or_takes_room(tmp_path):
    died(tmp_path / "cold")
    tables = table.Tables(
        [PLAIN], cold=tmp_path / "cold", memory_budget=AMPLE
    )  # of one group: the others' files go, too
    assert files_in(tmp_path / "cold") == []
    assert (cold(tables).rows, cold(tables).bytes, tables.rows("a")) == (0, 0, 0)
    assert not tables.lookup("a", np.arange(1000)).any()


def test_files_that_are_none_of_cold_rows_are_left_alone(tmp_path):
    died(tmp_path / "cold")
    for name in ("0/0000.segment", "2/letter.part", "2024/000000000001-000000000001.segment"):
        (tmp_path / "cold" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "cold" / name).touch()
    table.Tables([PLAIN], cold=tmp_path / "cold", memory_budget=AMPLE)
    assert files_in(tmp_path / "cold") == [
        "0/0000.segment",
        "2/letter.part",
        "2024/000000000001-000000000001.segment",  # there is no lock beside it: no store has been there
    ]


def test_a_flipped_bit_is_named_and_costs_no_other_row(tmp_path):
    tables, ids, weights = filled(tmp_path)
    (segment,) = (tmp_path / "cold" / "0").glob("*.segment")
    with segment.open("r+b") as file:
        file.seek(2 * 4096 + 100)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))
    named = f"{segment}: damaged: page 2 does not have its checksum"
    for call in (tables.lookup, tables.read):
        with pytest.raises(StorageError, match=named):
            call("a", ids)
    with pytest.raises(StorageError, match=named):
        tables.lookup("a", ids, insert=True)
    whole = 0
    for i in ids:
        try:
            whole += np.array_equal(tables.lookup("a", ids[i : i + 1])[0], weights[i])
        except StorageError:
            continue
    assert 800 < whole < 1000


def test_a_full_disk_keeps_all_rows_in_memory_and_says_so(tmp_path):
    tables, ids, weights = filled(tmp_path)
    more = np.arange(10_000, 30_000)
    tables.lookup("a", more, insert=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 4096, before[1]))
    try:
        with pytest.raises(StorageError, match="cannot write: File too large"):
            tables._core.spill(1, more)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tables.rows("a"), cold(tables).rows) == (21_000, 1000)
    assert np.array_equal(tables.lookup("a", ids), weights)
    assert tables._core.spill(1, more) == 20_000


def test_a_folder_is_one_store_s_and_holds_nothing_else(tmp_path):
    _tables, _, _ = filled(tmp_path)
    with pytest.raises(StorageError, match="in use by another store"):
        table.Tables([PLAIN], cold=tmp_path / "cold", memory_budget=AMPLE)
    (tmp_path / "cold" / "letter.txt").touch()
    with pytest.raises(ConfigError, match=r"there is 'letter\.txt'"):
        table.Tables([PLAIN], cold=tmp_path / "cold", memory_budget=AMPLE)
    with pytest.raises(ConfigError, match="is a file"):
        table.Tables([PLAIN], cold=tmp_path / "cold" / "letter.txt", memory_budget=AMPLE)
    with pytest.raises(StorageError, match="cannot make the folder"):
        table.Tables([PLAIN], cold="/proc/cold", memory_budget=AMPLE)


def test_a_forked_child_is_told_to_open_a_store_of_its_own(tmp_path):
    tables, ids, weights = filled(tmp_path)
    child = os.fork()
    if child == 0:
        try:
            tables.lookup("a", ids)
        except StorageError as error:
            os._exit(0 if "a forked process needs a store of its own" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(tables.lookup("a", ids), weights)


def few(tables, folder):
    return cold(tables).segments <= 24 and len(list(folder.glob("*/*.segment"))) < 30


def test_many_spills_are_compacted_to_few_files_whether_beside_or_in_the_calls(tmp_path):
    for background in (True, False):
        folder = tmp_path / str(background)
        tables = table.Tables([PLAIN], cold=folder, memory_budget=AMPLE, background=background)
        for start in range(0, 100_000, 1000):
            ids = np.arange(start, start + 1000)
            tables.lookup("a", ids, insert=True)
            tables._core.spill(1, ids)
            assert cold(tables).segments < 80

        until = time.monotonic() + 60  # the thread beside may get no core for a while
        while not few(tables, folder) and time.monotonic() < until:
            time.sleep(0.01 * background)
            tables.lookup("a", ids[:1])
            tables._core.spill(1, ids[:1])
        assert few(tables, folder)
        assert cold(tables).compacted > 0
        assert cold(tables).trouble == ""
        assert (tables.lookup("a", np.arange(100_000)) == 10).all()


def test_stats_of_a_store_without_a_folder_know_of_no_cold_rows():
    for store in (reference.Tables, table.Tables):
        assert store([PLAIN]).stats().cold is None
        assert replace(store([PLAIN]).stats(), cold=None) == store([PLAIN]).stats()


def test_a_folder_without_a_budget_is_refused(tmp_path):
    for store in (reference.Tables, table.Tables):
        with pytest.raises(ConfigError, match="no row goes there without a memory_budget"):
            store([PLAIN], cold=tmp_path)
