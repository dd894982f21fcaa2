import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from versions import contents, held, make

from larix.embedding import DeltaLog, Follower, TableSpec, fold
from larix.errors import StorageError

FOLLOW = """
import json, sys
from larix.embedding import Follower, fold
follower = Follower(sys.argv[1])
rows = follower.rows()
for line in sys.stdin:
    for changes in follower.poll():
        rows = fold(rows, changes)
    plain = rows["plain"]
    print(json.dumps([follower.instant.sequence, plain.ids.tolist(), plain.weights.tolist()]), flush=True)
"""


def test_another_process_follows_delta_by_delta(store, tmp_path):
    tables = make(store)
    tables.lookup("plain", np.arange(4), insert=True)
    log = DeltaLog(tmp_path, tables)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        for step in range(4):
            process.stdin.write("poll\n")
            process.stdin.flush()
            sequence, ids, weights = json.loads(process.stdout.readline())
            assert sequence == log.instant.sequence
            assert ids == tables.keys("plain").tolist()
            assert np.array_equal(np.float32(weights), tables.items("plain")[1])
            tables.update("plain", np.arange(step), np.ones((step, 3), np.float32))
            tables.remove("plain", np.array([step]))
            tables.lookup("plain", np.array([100 + step]), insert=True)
            log.append()
            if step == 1:
                log.compact()
        process.stdin.close()


def test_a_follower_goes_on_where_a_damaged_file_stopped_it_once_that_is_restored(store, tmp_path):
    tables = make(store)
    log = DeltaLog(tmp_path, tables)
    follower = Follower(tmp_path)
    rows = follower.rows()
    for one in range(3):
        tables.lookup("plain", np.array([one]), insert=True)
        log.append()
    path = tmp_path / "delta-0000000003" / "rows.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    read = []
    with pytest.raises(StorageError, match=r"delta-0000000003/rows.safetensors' is damaged"):
        read.extend(follower.poll())
    path.write_bytes(whole)
    assert [changes.last for changes in read] == [1]
    for changes in [*read, *follower.poll()]:
        rows = fold(rows, changes)
    assert held(rows.values()) == contents(tables)
    assert list(follower.poll()) == []


def test_a_table_that_was_empty_in_the_base_is_filled_by_deltas(store, tmp_path):
    tables = store([TableSpec(name="a", dim=2), TableSpec(name="b", dim=3)])
    log = DeltaLog(tmp_path, tables)
    assert {name: len(piece.ids) for name, piece in Follower(tmp_path).rows().items()} == {"a": 0, "b": 0}
    tables.lookup("b", np.arange(5), insert=True)
    log.append()
    rows = Follower(tmp_path).rows()
    assert held(rows.values()) == contents(tables)


def test_a_full_disk_keeps_the_base_and_the_deltas_when_they_are_compacted(store, tmp_path):
    tables = make(store)
    log = DeltaLog(tmp_path, tables)
    tables.lookup("plain", np.arange(20_000), insert=True)
    log.append()
    before = sorted(path.name for path in tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # the system refuses to write further
    try:
        with pytest.raises(StorageError, match="base-0000000002' cannot be written"):
            log.compact()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert contents(type(tables).load(tmp_path)) == contents(tables)
    log.compact()
    assert contents(type(tables).load(tmp_path)) == contents(tables)
