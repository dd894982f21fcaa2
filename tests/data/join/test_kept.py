import errno
import os

import numpy as np
import pyarrow as pa
import pytest

from larix.data.join.kept import Kept
from larix.data.join.store import Store
from larix.errors import StorageError

ROWS = pa.record_batch({"a": np.arange(100), "b": [str(n) for n in range(100)]})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "work")


@pytest.mark.parametrize("at", [None, np.array([3, 1, 99], np.int32)])
def test_rows_are_the_same_in_memory_and_in_a_file(store, at):
    kept = Kept("rows", ROWS, at)
    before = kept.read(store)
    assert kept.nbytes > 0
    assert kept.spill(store) > 0
    assert kept.nbytes == 0
    assert kept.read(store).equals(before)
    batch, places = kept.find(store, np.array([2, 0], np.int32))
    assert batch.take(pa.array(places)).equals(before.take(pa.array([2, 0])))
    kept.drop(store)
    assert [path.name for path in store.folder.iterdir()] == ["lease"]


def test_a_write_that_failed_is_told_when_the_file_is_wanted_and_tried_again(store, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    kept, other = Kept("rows", ROWS), Kept("rows", ROWS)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", full)
        for each in (kept, other):
            each.begin(store)
            with pytest.raises(StorageError, match="No space left"):
                each.file(store)
        other.begin(store)
        other._writing.exception()
        other.drop(store)
    assert kept.file(store).size > 100
    assert kept.read(store).equals(ROWS)


def test_a_folder_is_cleared_of_what_an_earlier_process_left(tmp_path):
    first = Store(tmp_path)
    Kept("rows", ROWS).file(first)
    first.close()
    Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lease"]
