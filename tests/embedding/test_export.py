import numpy as np
import pyarrow.parquet as pq
import pytest

from larix.embedding import SGD, TableSpec, export_parquet, export_safetensors, storage
from larix.errors import ConfigError, StorageError


def test_a_table_is_exported_by_rising_id(store, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_ROWS", 7)  # several pieces
    tables = store([TableSpec(name="a", dim=3), TableSpec(name="bare", dim=2, optimizer=SGD())])
    tables.lookup("a", np.arange(20, 0, -1), insert=True)
    tables.update("a", np.array([5, 6]), np.ones((2, 3), np.float32))
    tables.lookup("bare", np.arange(3), insert=True)
    assert export_parquet(tables, "a", tmp_path / "a.parquet") == 20
    assert export_parquet(tables, "bare", tmp_path / "bare.parquet") == 3
    ids, weights, state = tables.items("a")
    read = pq.read_table(tmp_path / "a.parquet")
    assert np.array_equal(read["id"].to_numpy(), ids)
    assert np.array_equal(np.stack(read["weights"].to_numpy()), weights)
    assert np.array_equal(np.stack(read["state"].to_numpy()), state)
    assert pq.read_table(tmp_path / "bare.parquet").column_names == ["id", "weights"]


def test_an_export_that_fails_says_where_and_leaves_nothing(store, tmp_path):
    tables = store([TableSpec(name="a", dim=3)])
    with pytest.raises(StorageError, match=r"no/a.parquet' cannot be written"):
        export_parquet(tables, "a", tmp_path / "no" / "a.parquet")
    with pytest.raises(ConfigError, match="there is no table 'b'"):
        export_parquet(tables, "b", tmp_path / "b.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_table_exported_to_safetensors_is_a_store_of_that_table_alone(store, tmp_path):
    tables = store([TableSpec(name="a", dim=3), TableSpec(name="b", dim=2)])
    tables.lookup("a", np.arange(9), insert=True)
    tables.lookup("b", np.arange(4), insert=True)
    assert export_safetensors(tables, "b", tmp_path / "b") == 4
    loaded = store.load(tmp_path / "b")
    assert list(loaded.specs) == ["b"]
    for left, right in zip(loaded.items("b"), tables.items("b"), strict=True):
        assert np.array_equal(left, right)
    with pytest.raises(ConfigError, match="there is no table 'c'"):
        export_safetensors(tables, "c", tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
