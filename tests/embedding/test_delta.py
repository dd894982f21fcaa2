import resource
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from test_storage import signed_anew
from versions import SPECS, contents, do, held, make

from larix.embedding import DeltaLog, Follower, TableSpec, fold, snapshot, storage, table
from larix.errors import ConfigError, StorageError


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


@pytest.fixture
def log(store, tmp_path):
    """A log with a base and two deltas, and the store behind it."""
    tables, rng = make(store), np.random.default_rng(1)
    do(tables, rng, most=50)
    log = DeltaLog(tmp_path / "log", tables)
    for _ in range(2):
        for _ in range(4):
            do(tables, rng, most=50)
        log.append()
    return log, tables


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.lists(st.integers(0, 8), min_size=1, max_size=12), st.integers(1, 3))
def test_what_is_in_the_folder_is_the_table_always(store, tmp_path_factory, seed, acts, keep):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("log")
    tables = make(store)
    do(tables, rng)
    log = DeltaLog(folder, tables, keep=keep)
    follower = Follower(folder)
    rows = follower.rows()
    for act in acts:
        for _ in range(act):
            do(tables, rng)
        log.append()
        for changes in follower.poll():
            rows = fold(rows, changes)
        now = contents(tables)
        assert held(rows.values()) == now
        if act == 7:
            log.compact()
        if act == 8:  # the process dies and another goes on from what is on disk
            log.close()
            tables = store.load(folder, threads=1)
            log = DeltaLog(folder, tables, keep=keep)
        assert held(Follower(folder).rows().values()) == now
        assert contents(store.load(folder)) == now
    log.close()


def test_a_delta_is_one_safetensors_file_that_others_read(log, tmp_path):
    log, tables = log
    since = log.instant.sequence
    tables.put("full", np.array([7, -7]), np.full((2, 2), 2, np.float32), np.ones((2, 2), np.float32))
    tables.remove("full", np.array([7]))
    log.append()
    assert names(tmp_path / "log") == ["base-0000000001"] + [f"delta-000000000{n}" for n in (2, 3, 4)]
    arrays = load_file(tmp_path / "log" / "delta-0000000004" / "rows.safetensors")
    changes = tables.changes(since)
    assert {name.rpartition("/")[0] for name in arrays} == {"full"}
    for column, array in zip(changes.tables["plain"]._fields, changes.tables["full"], strict=True):
        assert np.array_equal(arrays[f"full/{column}"], array)
    assert arrays["full/removed"].tolist() == [7]


def test_nothing_new_writes_nothing(log, tmp_path):
    log, _ = log
    before = names(tmp_path / "log")
    log.append()
    assert names(tmp_path / "log") == before


def test_compaction_keeps_the_state_and_those_who_follow(log, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "PIECE_BYTES", 200)  # several files a table
    log, tables = log
    follower = Follower(tmp_path / "log")
    rows, before = follower.rows(), contents(tables)
    log.compact()
    assert names(tmp_path / "log") == [
        "base-0000000001",
        "base-0000000003",
        "delta-0000000002",
        "delta-0000000003",
    ]
    assert contents(type(tables).load(tmp_path / "log")) == before
    log.compact()  # nothing to do
    tables.lookup("plain", np.arange(10, 60), insert=True)
    log.append()
    tables.remove("plain", np.arange(20, 40))
    log.append()
    log.compact()
    assert names(tmp_path / "log") == [
        "base-0000000003",
        "base-0000000005",
        "delta-0000000004",
        "delta-0000000005",
    ]
    for changes in follower.poll():
        rows = fold(rows, changes)
    assert held(rows.values()) == contents(tables)
    sizes = [
        len(piece.ids)
        for piece in storage.read(tmp_path / "log" / "base-0000000005")
        if piece.table == "plain"
    ]
    assert len(sizes) > 2
    assert max(sizes) <= 2 * min(sizes[:-1]), sizes


def test_a_follower_that_missed_a_delta_is_told_to_load_a_newer_base(log, tmp_path):
    log, tables = log
    late = Follower(tmp_path / "log")
    for one in range(2):
        tables.lookup("plain", np.array([1000 + one]), insert=True)
        log.append()
        log.compact()
    with pytest.raises(
        StorageError, match=r"delta-0000000002' is missing while number 5 is there; load a newer base"
    ):
        list(late.poll())
    assert held(Follower(tmp_path / "log").rows().values()) == contents(tables)


def test_a_store_that_does_not_come_from_the_end_of_the_log_begins_it_anew(log, tmp_path):
    log, tables = log
    old, store = tmp_path / "old", type(tables)
    tables.save(old)
    follower = Follower(tmp_path / "log")
    list(follower.poll())
    tables.lookup("plain", np.array([1000]), insert=True)
    log.append()
    list(follower.poll())
    log.close()
    back = store.load(old)  # an older state: what the log says after it is not this store's past
    for one in range(5):
        back.lookup("plain", np.array([2000 + one]), insert=True)
        back.cut()
    log = DeltaLog(tmp_path / "log", back)
    assert names(tmp_path / "log")[:2] == ["base-0000000001", "base-0000000005"]
    with pytest.raises(StorageError, match=r"delta-0000000005' is missing .* load a newer base"):
        list(follower.poll())
    assert held(Follower(tmp_path / "log").rows().values()) == contents(back)
    log.close()
    half = [replace(spec, precision="bf16") for spec in SPECS]
    DeltaLog(tmp_path / "log", store.load(tmp_path / "log", specs=half)).close()
    assert names(tmp_path / "log")[-1] == "base-0000000006", "other rows than those that the log holds"
    other = store([*SPECS, TableSpec(name="new", dim=1)])
    DeltaLog(tmp_path / "log", other)
    assert list(Follower(tmp_path / "log").specs) == [*(spec.name for spec in SPECS), "new"]


def test_a_store_loaded_from_the_log_goes_on_in_it_with_settings_of_its_own(log, tmp_path):
    log, tables = log
    log.close()
    specs = [replace(spec, optimizer=replace(spec.optimizer, lr=9.0)) for spec in SPECS]
    loaded = type(tables).load(tmp_path / "log", specs=specs)
    assert contents(loaded) == contents(tables)
    assert (loaded.steps, loaded.clock) == (tables.steps, tables.clock)
    log = DeltaLog(tmp_path / "log", loaded)
    loaded.lookup("plain", np.array([1000]), insert=True)
    log.append()
    assert names(tmp_path / "log")[-1] == "delta-0000000004"
    assert type(tables).load(tmp_path / "log").specs["plain"].optimizer.lr == 9.0


def test_two_logs_do_not_write_to_one_folder(log, tmp_path):
    log, tables = log
    with pytest.raises(StorageError, match=r"another log writes to '.*log'; close it"):
        DeltaLog(tmp_path / "log", tables)
    log.close()
    DeltaLog(tmp_path / "log", tables).close()
    with pytest.raises(ConfigError, match="keep is 0"):
        DeltaLog(tmp_path / "log", tables, keep=0)
    with pytest.raises(StorageError, match="has no base"):
        Follower(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["delta-0000000002/rows.safetensors", "delta-0000000003/manifest.json", "base-0000000001/manifest.json"],
)
@pytest.mark.parametrize("how", ["flip", "cut", "empty", "gone"])
def test_a_damaged_file_is_named(log, tmp_path, name, how):
    _, tables = log
    path = tmp_path / "log" / name
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[:-5], "empty": b""}.get(how, data))
    if how == "gone":
        path.unlink()
    with pytest.raises(StorageError, match=name):
        Follower(tmp_path / "log").rows()
    with pytest.raises(StorageError, match=name):
        type(tables).load(tmp_path / "log")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda body: body.update(first=99), "from 99 to"),
        (lambda body: body["tables"].update(other={"rows": 1, "removed": 0}), "'other'"),
        (lambda body: body["specs"].pop(), "its tables have other rows than those of its base"),
        (lambda body: body["specs"][0].update(precision="fp32"), "its tables have other rows"),
        (lambda body: body["rows"].update(file="/etc/passwd"), "not the name of a file"),
    ],
)
def test_a_delta_that_makes_no_sense_is_named_though_its_checksum_is_right(log, tmp_path, change, sentence):
    _, tables = log
    signed_anew(tmp_path / "log" / "delta-0000000003" / "manifest.json", change)
    for read in (lambda: Follower(tmp_path / "log").rows(), lambda: type(tables).load(tmp_path / "log")):
        with pytest.raises(StorageError, match=f"delta-0000000003.* is damaged.*{sentence}"):
            read()


def test_a_disk_that_fills_loses_no_changes(log, tmp_path):
    log, tables = log
    before = contents(type(tables).load(tmp_path / "log"))
    tables.lookup("plain", np.arange(10_000), insert=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # the system refuses to write further
    try:
        with pytest.raises(StorageError, match=r"delta-0000000004' cannot be written"):
            log.append()
        assert contents(type(tables).load(tmp_path / "log")) == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    tables.remove("plain", np.arange(5))
    log.append()
    assert contents(type(tables).load(tmp_path / "log")) == contents(tables)


def test_what_a_dead_writer_left_half_done_is_cleared_away(log, tmp_path):
    log, tables = log
    (tmp_path / "log" / ".delta-0000000004.new").mkdir()
    assert held(Follower(tmp_path / "log").rows().values()) == contents(tables)
    log.close()
    DeltaLog(tmp_path / "log", tables).close()
    assert not [name for name in names(tmp_path / "log") if name.startswith(".")]


def test_a_log_writes_a_base_when_more_ids_went_away_than_the_store_lists(tmp_path):
    """Ids that went away take memory until they are forgotten: there is a bound to it."""
    tables = table.Tables([TableSpec(name="a", dim=1)])
    log = DeltaLog(tmp_path / "log", tables)
    kept, ids = tables.kept, np.arange(70_000)
    tables.lookup("a", ids, insert=True)
    tables.remove("a", ids[:-1])
    with pytest.raises(ConfigError, match="since sequence 0 were asked for but only those since 1 are kept"):
        tables.changes(kept)
    assert log.append() == tmp_path / "log" / "base-0000000002"
    assert list(contents(table.Tables.load(tmp_path / "log"))) == [("a", 69_999)]
    tables.remove("a", ids)
    assert log.append() == tmp_path / "log" / "delta-0000000003"
    assert not contents(table.Tables.load(tmp_path / "log"))
    tables.forget(log.instant.sequence)
