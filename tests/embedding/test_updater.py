"""A replica that follows a log: written by another process, left behind, begun anew, damaged."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import writing

from larix.embedding import SGD, DeltaLog, Replica, Tables, TableSpec, Updater
from larix.errors import ConfigError, StorageError

SPEC = TableSpec(name="a", dim=2, optimizer=SGD())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


def put(tables, ids, value):
    weights = np.full((len(ids), 2), value, np.float32)
    tables.put("a", np.array(ids), weights, np.zeros((len(ids), 0), np.float32))


def shown(replica, count=6):
    return replica.lookup("a", np.arange(count))[:, 0].tolist()


def begun(folder, **options):
    """A store with ids 0 to 2, and its log."""
    tables = Tables([SPEC], threads=1)
    put(tables, [0, 1, 2], 1)
    return tables, DeltaLog(folder, tables, **options)


def eventually(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def test_rows_written_by_another_process_are_shown_while_readers_go_on(folder):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(Path(writing.__file__)), str(folder), "60"]
    wrong, seen, over = [], set(), threading.Event()
    replica = Replica(writing.SPECS)

    def read():
        rng, newest = np.random.default_rng(1), 0
        while not over.is_set():
            ids = np.concatenate([np.zeros(1, np.int64), rng.integers(0, writing.IDS, 200)])
            for name in replica.specs:
                found = replica.lookup(name, ids)
                now = int(found[0, 0])
                if (found != found[:, :1]).any() or found.max() > now or now < newest:
                    wrong.append((newest, now, found))
                newest = now
                seen.add(now)

    readers = [threading.Thread(target=read) for _ in range(2)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    try:
        with subprocess.Popen(command, **pipes, env=environment, text=True) as process:
            assert process.stdout.readline() == "base\n"
            updater = Updater(replica, folder)
            updater.start(every=0.001)
            for reader in readers:
                reader.start()
            while (line := process.stdout.readline()) != "end\n":
                # What was not read yet is not compacted away.
                eventually(lambda upto=int(line): int(replica.lookup("a", [0])[0, 0]) >= upto)
                print(file=process.stdin, flush=True)
            assert process.wait() == 0
        eventually(lambda: int(replica.lookup("a", [0])[0, 0]) == 60)
    finally:
        over.set()
    for reader in readers:
        reader.join()
    updater.stop()
    assert not updater.poll()
    assert not wrong
    assert len(seen) > 5, "hardly any state was seen on the way"
    written = Tables.load(folder)
    for name in replica.specs:
        assert np.array_equal(replica.keys(name), written.keys(name))
        ids = np.arange(writing.IDS)
        assert np.array_equal(replica.lookup(name, ids), written.lookup(name, ids))


def test_a_replica_that_shows_a_state_of_the_log_goes_on_from_there(folder):
    tables, log = begun(folder)
    put(tables, [3], 2)
    log.append()
    loaded = Replica.load(folder)
    put(tables, [0], 3)
    tables.remove("a", [1])
    log.append()
    updater = Updater(loaded, folder)
    assert updater.poll()
    assert shown(loaded) == [3, 0, 1, 2, 0, 0]
    assert loaded.instant == log.instant
    assert updater.replaced == 0
    assert not updater.poll()
    empty = Updater(Replica([SPEC]), folder)
    assert empty.poll()
    assert shown(empty.replica) == shown(loaded)
    assert empty.replaced == 1


def test_one_that_fell_behind_what_is_kept_begins_with_a_newer_base(folder):
    tables, log = begun(folder, keep=1)
    updater = Updater(Replica.load(folder), folder)
    updater.poll()
    for value in (2, 3, 4):
        put(tables, [value], value)
        log.append()
    log.compact()
    assert updater.poll()
    assert shown(updater.replica) == [1, 1, 2, 3, 4, 0]
    assert updater.replaced == 1
    put(tables, [5], 5)
    log.append()
    assert updater.poll()
    assert (shown(updater.replica)[5], updater.replaced) == (5, 1)


def test_a_log_begun_anew_by_another_store_replaces_all_rows(folder):
    tables, log = begun(folder)
    updater = Updater(Replica.load(folder), folder)
    put(tables, [3], 2)
    log.append()
    updater.poll()
    log.close()
    fresh = Tables([SPEC], threads=1)
    put(fresh, [1, 4], 7)
    log = DeltaLog(folder, fresh)
    assert updater.poll()
    assert shown(updater.replica) == [0, 7, 0, 0, 7, 0]
    assert updater.replica.instant == log.instant
    assert updater.replaced == 1


def test_a_damaged_delta_is_named_and_a_newer_base_gets_the_replica_over_it(folder):
    tables, log = begun(folder)
    updater = Updater(Replica.load(folder), folder)
    put(tables, [3], 2)
    log.append()
    (rows,) = (folder / "delta-0000000002").glob("rows*")
    whole = rows.read_bytes()
    rows.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for _ in range(2):
        with pytest.raises(StorageError, match=r"delta-0000000002.*is damaged"):
            updater.poll()
        assert shown(updater.replica) == [1, 1, 1, 0, 0, 0]
    log.close()
    DeltaLog(folder, Tables.load(folder / "base-0000000001"))
    assert updater.poll()
    assert shown(updater.replica) == [1, 1, 1, 0, 0, 0]
    assert updater.replaced == 1


def test_what_ends_the_thread_is_raised_by_stop(folder, monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_value))
    updater = Updater(Replica([SPEC]), folder)
    updater.start()
    eventually(lambda: not updater.running)
    with pytest.raises(StorageError, match="has no base") as raised:
        updater.stop()
    assert told == [raised.value]
    updater.stop()
    assert not updater.running


def test_with_somebody_to_tell_polling_goes_on_after_an_error(folder):
    errors = []
    updater = Updater(Replica([SPEC]), folder)
    updater.start(every=0.002, on_error=errors.append)
    eventually(lambda: len(errors) >= 2)
    assert all("has no base" in str(error) for error in errors)
    with pytest.raises(ConfigError, match="is being polled already"):
        updater.start()
    begun(folder)
    eventually(lambda: shown(updater.replica)[:3] == [1, 1, 1])
    updater.stop()
    assert not updater.running


def test_a_table_that_has_changed_its_dim_is_told_at_every_poll(folder):
    begun(folder)
    updater = Updater(Replica([TableSpec(name="a", dim=3)]), folder)
    for _ in range(2):
        with pytest.raises(ConfigError, match="table 'a' has dim 2 but the replica's has 3"):
            updater.poll()
    with pytest.raises(ConfigError, match="every is 0 seconds"):
        updater.start(every=0)
