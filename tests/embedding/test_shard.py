"""Shards of a version: each row in one of them, and together they go on as the whole does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from versions import contents

from larix.embedding import Adam, DeltaLog, RowAdagrad, Shard, TableSpec
from larix.embedding.birth import mix
from larix.errors import ConfigError

SPECS = (
    TableSpec(name="a", dim=4, optimizer=Adam(lr=0.1)),
    TableSpec(name="b", dim=3, optimizer=RowAdagrad(lr=0.1)),
)
IDS = {"a": mix(np.arange(3000, dtype=np.uint64)).view(np.int64), "b": np.arange(-500, 500)}


def shards(count):
    return [Shard(index=index, count=count) for index in range(count)]


def train(tables, seed, shard=None):
    """Some rows are born and stepped: all, or those of one shard, by the same gradients either way."""
    rng = np.random.default_rng(seed)
    for name, ids in IDS.items():
        some = rng.permutation(ids)[: len(ids) // 2]
        steps = rng.standard_normal((len(some), tables.specs[name].dim)).astype(np.float32)
        mine = slice(None) if shard is None else shard.holds(some)
        tables.lookup(name, some[mine], insert=True)
        tables.update(name, some[mine], steps[mine])


def together(parts):
    """The rows of all parts, of which none may be in two."""
    found = {}
    for part in map(contents, parts):
        assert not found.keys() & part.keys()
        found |= part
    return found


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50), st.integers(1, 70))
def test_every_id_is_in_exactly_one_shard(ids, count):
    ids = np.array(ids, np.int64)
    assert (sum(shard.holds(ids).astype(int) for shard in shards(count)) == 1).all()


@pytest.mark.parametrize("shift", [0, 7, 20, 40, 48])
@pytest.mark.parametrize("count", [2, 3, 16])
def test_shards_are_of_one_size_whatever_bits_ids_differ_in(count, shift):
    ids = np.arange(20_000) << shift
    for shard in shards(count):
        assert abs(shard.holds(ids).mean() * count - 1) < 0.2


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_version_is_restored_into_any_number_of_shards(store, tmp_path, count):
    whole = store(SPECS)
    train(whole, 0)
    whole.save(tmp_path / "version")
    parts = [store.load(tmp_path / "version", shard=shard) for shard in shards(count)]
    assert together(parts) == contents(whole)


def test_so_is_a_log_with_what_went(store, tmp_path):
    whole = store(SPECS)
    train(whole, 0)
    log = DeltaLog(tmp_path / "log", whole)
    train(whole, 1)
    log.append()
    for name, ids in IDS.items():
        whole.remove(name, ids[::3])
    log.append()
    log.close()
    parts = [store.load(tmp_path / "log", shard=shard) for shard in shards(4)]
    assert together(parts) == contents(whole)


def test_shards_that_go_on_are_the_whole_that_goes_on(store, tmp_path):
    whole = store(SPECS)
    train(whole, 0)
    whole.save(tmp_path / "version")
    parts = {shard: store.load(tmp_path / "version", shard=shard) for shard in shards(3)}
    train(whole, 1)
    for shard, part in parts.items():
        train(part, 1, shard)
    assert together(list(parts.values())) == contents(whole)


def test_a_shard_does_not_go_on_with_the_log_of_the_whole(store, tmp_path):
    whole = store(SPECS)
    train(whole, 0)
    log = DeltaLog(tmp_path / "log", whole)
    log.close()
    part = store.load(tmp_path / "log", shard=Shard(index=0, count=2))
    again = DeltaLog(tmp_path / "log", part)  # a base of its own, not a delta of few rows behind the whole's
    again.close()
    assert contents(store.load(tmp_path / "log")) == contents(part)


@pytest.mark.parametrize(
    "wrong", [{"index": 3, "count": 3}, {"index": -1, "count": 3}, {"index": 0, "count": 0}]
)
def test_a_shard_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="Shard"):
        Shard(**wrong)
