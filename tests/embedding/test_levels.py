"""Rows on two levels against the oracle: what each reads as on its level, within the budget, whatever moves, fails or is read."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import replicas
from hypothesis import given, settings
from hypothesis import strategies as st
from leveled import SPECS, Oracle, chosen, cut_short, damaged, file_of, unreadable, zipf_world

from larix.embedding import Levels, Replica, TableSpec
from larix.embedding.levels import shown
from larix.embedding.quantize import row_bytes
from larix.embedding.reading import HOT
from larix.errors import ConfigError, StorageError

IDS = np.arange(60)
KINDS = [
    ("fp32", "int8"),
    ("bf16", "int8"),
    ("fp16", "int8"),
    ("fp32", "disk"),
    ("bf16", "disk"),
    ("int8", "disk"),
]
_FOLDERS: list[str] = []


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory):
    """A folder for the hypotheses of this module: the files in it have no names."""
    _FOLDERS.append(str(tmp_path_factory.mktemp("cold")))
    yield _FOLDERS[0]
    assert list(Path(_FOLDERS.pop()).iterdir()) == []


def check(replica, oracle, kind, budget):
    used = 0
    for spec in SPECS:
        with replica.reading() as rows:
            hot = rows.hot(spec.name, IDS)
            assert rows.lookup(spec.name, IDS).tobytes() == oracle.lookup(spec, IDS, hot).tobytes()
        there = np.isin(IDS, list(oracle.rows[spec.name]))
        assert not hot[~there].any(), "what has no row is not hot"
        used += int(hot.sum()) * row_bytes(kind[0], spec.dim)
    levels = replica.stats().levels
    assert (levels.hot_bytes, levels.hot_rows + levels.cold_rows) == (
        used,
        sum(map(len, oracle.rows.values())),
    )
    assert used <= budget


def hot_of(replica):
    return {spec.name: replica.hot(spec.name, IDS) for spec in SPECS}


@settings(deadline=None, max_examples=120)
@given(
    st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(1, 15), st.sampled_from([64, 500, 2000, 10**6])
)
def test_a_random_history_shows_of_every_row_what_its_level_says(kind, seed, steps, budget):
    rng, oracle, sequence = np.random.default_rng(seed), Oracle(kind), 0
    levels = Levels(hot_bytes=budget, folder=_FOLDERS[0], cold=kind[1])
    replica = Replica(SPECS, precision=kind[0], levels=levels)
    for _ in range(steps):
        put, removed = {}, {}
        for spec in SPECS:
            ids = rng.permutation(IDS)[: rng.integers(0, 50)]
            at = rng.integers(0, len(ids) + 1)
            put[spec.name] = ids[:at], rng.standard_normal((at, spec.dim)).astype(np.float32)
            removed[spec.name] = ids[at:]
        before = hot_of(replica)
        match rng.integers(6):
            case 0:
                replica.replace(replicas.snapshot(SPECS, sequence := sequence + 1, put))
                oracle = Oracle(kind)
                oracle.apply(put, {})
            case 1:  # a version that fails half way leaves no trace, on disk neither
                broken = replicas.changes(SPECS, sequence + 1, sequence + 1, put, removed)
                broken.tables["c"] = broken.tables["c"]._replace(weights=np.zeros((99, 3), np.float32))
                with pytest.raises(ConfigError, match="weights of table 'c'"):
                    replica.apply(broken)
                put = {}
            case 2 | 3:
                for _ in range(8):
                    replica.lookup("abc"[rng.integers(3)], rng.choice(IDS[: rng.integers(1, 61)], 300))
                state = replica.instant
                moved = replica.adapt(int(rng.choice([1, 5, 1000])))
                assert replica.instant == state
                after = hot_of(replica)
                assert moved == sum(int((before[name] != after[name]).sum()) for name in after)
                put, before = {}, after
            case _:
                replica.apply(replicas.changes(SPECS, sequence + 1, sequence := sequence + 1, put, removed))
                oracle.apply(put, removed)
        check(replica, oracle, kind, budget)
        after = hot_of(replica)
        for name, (ids, _) in put.items():
            kept = ids[before[name][ids]]
            assert after[name][kept].all(), "a change of a hot row leaves it hot"


@pytest.mark.parametrize("cold", ["int8", "disk"])
def test_rows_that_are_used_most_become_hot_and_stay_so_until_others_are(cold):
    _, replica, weights, ranks, draw = zipf_world(_FOLDERS[0], cold)
    assert replica.stats().levels.hot_rows == 400, "new rows are hot while there is room"

    def use(shift):
        before = replica.stats().levels
        for _ in range(40):
            replica.lookup("t", (draw(3000) + shift) % 4000)
            replica.adapt()
        levels = replica.stats().levels
        hits = levels.hot_hits - before.hot_hits
        return hits / (hits + levels.cold_hits - before.cold_hits)

    use(0)
    assert replica.hot("t", ranks[:100]).all()
    settled, promoted = use(0), replica.stats().levels.promoted
    assert settled > 0.8
    assert use(0) == pytest.approx(settled, abs=0.02)
    assert replica.stats().levels.promoted - promoted < 4000, "rows are moved for little"
    assert use(7) < settled, "other rows are used: they have to earn it"
    assert use(7) == pytest.approx(settled, abs=0.05)
    assert replica.hot("t", (ranks[:80] + 7) % 4000).all()
    levels = replica.stats().levels
    assert (levels.hot_rows, levels.hot_bytes) == (400, 400 * 64)
    assert levels.demoted == levels.promoted
    found = replica.lookup("t", np.arange(4000))
    expected = np.where(
        replica.hot("t", np.arange(4000))[:, None], weights, shown("fp32", cold, weights, False)
    )
    assert np.array_equal(found, expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 120), st.sampled_from([1, 7, 1000]))
def test_the_cold_rows_that_are_used_most_take_the_places_of_the_hot_ones_that_are_used_least(
    seed, fits, most
):
    rng, spec, ids = np.random.default_rng(seed), TableSpec(name="t", dim=4), np.arange(200)
    replica = Replica([spec], levels=Levels(hot_bytes=fits * 16, folder=_FOLDERS[0]))
    there = rng.permutation(ids)[: rng.integers(1, 201)]
    replica.replace(replicas.snapshot([spec], 1, {"t": (there, np.ones((len(there), 4)))}))
    for _ in range(6):
        for _ in range(rng.integers(1, 6)):
            replica.lookup("t", rng.choice(there[: rng.integers(1, len(there) + 1)], rng.integers(1, 900)))
        with replica.reading() as rows:
            heat = rows.heat("t", there).astype(int)
        uses, hot = heat % HOT, heat >= HOT
        up, down = chosen(uses, hot, fits, most)
        moved = replica.adapt(most)
        now = replica.hot("t", there)
        risen, fallen = uses[now & ~hot], np.minimum(uses[hot & ~now] + 1, 255)
        assert np.sort(risen)[::-1].tolist() == up.tolist()
        assert np.sort(fallen).tolist() == down.tolist()
        assert moved == len(up) + len(down)
        assert now.sum() <= fits


def test_rows_used_alike_do_not_change_places():
    _, replica, _, _, _ = zipf_world(_FOLDERS[0], "int8")
    before = replica.hot("t", np.arange(4000))
    for _ in range(30):
        replica.lookup("t", np.arange(4000))
        assert replica.adapt() < 200
    assert replica.stats().levels.promoted < 1000
    assert (before & replica.hot("t", np.arange(4000))).sum() > 100


def test_a_snapshot_in_place_of_all_rows_leaves_hot_what_was_and_is_there_again():
    spec, replica, weights, ranks, draw = zipf_world(_FOLDERS[0], "int8")
    for _ in range(20):
        replica.lookup("t", draw(5000))
        replica.adapt()
    hot = replica.hot("t", np.arange(4000))
    order = np.random.default_rng(2).permutation(4000)[:3900]
    replica.replace(replicas.snapshot([spec], 2, {"t": (order, -weights[order])}))
    after = replica.hot("t", np.arange(4000))
    assert np.array_equal(after[order], hot[order])
    assert np.array_equal(replica.lookup("t", ranks[:1]), -weights[ranks[:1]])


def test_a_replica_that_steps_in_the_place_of_another_begins_with_what_is_hot_there():
    spec, former, weights, ranks, draw = zipf_world(_FOLDERS[0], "disk")
    for _ in range(20):
        former.lookup("t", draw(5000))
        former.adapt()
    ids = np.arange(4000)
    fresh = Replica([spec], levels=former.levels)
    fresh.replace(replicas.snapshot([spec], 2, {"t": (ids, -weights)}), like=former)
    assert np.array_equal(fresh.hot("t", ids), former.hot("t", ids))
    assert np.array_equal(fresh.lookup("t", ids), -weights)
    with fresh.reading() as ours, former.reading() as theirs:
        assert (ours.heat("t", ids) >= theirs.heat("t", ids)).all(), "uses come along"
    smaller = Replica([spec], levels=Levels(hot_bytes=100 * 64, folder=_FOLDERS[0]))
    smaller.replace(replicas.snapshot([spec], 2, {"t": (ranks, weights[ranks])}), like=former)
    hot = smaller.hot("t", ids)
    assert (hot.sum(), (hot & ~former.hot("t", ids)).sum()) == (100, 0)
    flat = Replica([spec])
    flat.replace(replicas.snapshot([spec], 2, {"t": (ids, weights)}), like=former)
    again = Replica([spec], levels=former.levels)
    again.replace(replicas.snapshot([spec], 2, {"t": (ids, weights)}), like=flat)
    assert again.hot("t", ids[:400]).all(), "all rows are as good as one another"


def test_a_delta_to_a_hot_row_is_seen_at_once_as_it_is_and_to_a_cold_one_as_it_can_be():
    spec, replica, _, _, _ = zipf_world(_FOLDERS[0], "int8")
    one, other = np.array([3]), np.array([3999])
    assert (replica.hot("t", one).all(), replica.hot("t", other).any()) == (True, False)
    fresh = np.random.default_rng(5).standard_normal((2, 16)).astype(np.float32)
    replica.apply(replicas.changes([spec], 2, 2, {"t": (np.concatenate([one, other]), fresh)}))
    assert np.array_equal(replica.lookup("t", one), fresh[:1])
    assert np.array_equal(replica.lookup("t", other), shown("fp32", "int8", fresh[1:], False))
    while not replica.hot("t", other).all():
        replica.lookup("t", np.repeat(other, 100))
        replica.adapt()
    assert np.array_equal(replica.lookup("t", other), fresh[1:]), (
        "what it was put as, not what it was read as"
    )


@pytest.mark.parametrize("cold", ["int8", "disk"])
def test_a_reading_has_each_row_on_one_level_while_rows_move_and_deltas_come(cold):
    """Version v holds v * 1.1 in all columns, which int8 cannot: what is read is the whole row or the cold one of one version."""
    spec, replica, _, _, draw = zipf_world(_FOLDERS[0], cold, rows=600, hot=60)
    over, failures, versions = threading.Event(), [], set()
    ids = np.arange(600)

    def weights(version):
        return np.full((600, 16), version, np.float32) * np.linspace(0.1, 1.1, 16, dtype=np.float32)

    def publish(version):
        replica.apply(replicas.changes([spec], version, version, {"t": (ids, weights(version))}))

    def read(seed):
        while not over.is_set():
            with replica.reading() as rows:
                hot = rows.hot("t", ids)
                row = weights(rows.sequence)
                expected = np.where(hot[:, None], row, shown("fp32", cold, row, False))
                for _ in range(3):
                    if not np.array_equal(rows.lookup("t", ids), expected):
                        failures.append(rows.sequence)
            versions.add(rows.sequence)
            for _ in range(5):
                replica.lookup("t", (draw(300) + seed * 100) % 600)

    publish(2)
    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for reader in readers:
        reader.start()
    version = 2
    while version < 60 or (len(versions) < 5 and version < 100_000):
        publish(version := version + 1)
        replica.adapt(20)
    over.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert replica.stats().levels.promoted > 20, "too few rows moved to tell anything"


@pytest.mark.parametrize("how", [damaged, cut_short, unreadable])
def test_a_cold_row_that_cannot_be_read_is_an_error_that_says_so_and_all_others_are_read(how, tmp_path):
    spec = TableSpec(name="t", dim=16)
    weights = np.random.default_rng(1).standard_normal((4000, 16)).astype(np.float32)
    replica = Replica([spec], levels=Levels(hot_bytes=400 * 64, folder=tmp_path, cold="disk"))
    replica.replace(replicas.snapshot([spec], 1, {"t": (np.arange(4000), weights)}))
    assert np.array_equal(replica.lookup("t", np.arange(4000)), weights)
    message = how(replica)
    with pytest.raises(StorageError, match=message):
        replica.lookup("t", np.arange(4000))
    assert np.array_equal(replica.lookup("t", np.arange(400)), weights[:400]), "hot ones are in memory"
    for _ in range(10):
        replica.lookup("t", np.arange(400))  # so that nothing that is cold is wanted
    with replica.reading() as rows, pytest.raises(StorageError, match=message):
        rows.lookup("t", np.arange(4000))
    assert replica.apply(replicas.changes([spec], 2, 2)), "no reader is left behind by an error"


def test_a_disk_that_is_full_fails_the_delta_and_moves_and_leaves_what_is_shown(tmp_path):
    spec = TableSpec(name="t", dim=16)
    weights = np.random.default_rng(1).standard_normal((4000, 16)).astype(np.float32)
    replica = Replica([spec], levels=Levels(hot_bytes=400 * 64, folder=tmp_path))
    replica.replace(replicas.snapshot([spec], 1, {"t": (np.arange(4000), weights)}))
    before, hot = replica.lookup("t", np.arange(4000)), replica.hot("t", np.arange(4000))
    ours = file_of(replica)
    kept, full = os.dup(ours), os.open("/dev/full", os.O_RDWR)
    os.dup2(full, ours)
    news = replicas.changes([spec], 2, 2, {"t": (np.arange(0, 4000, 3), -weights[::3])}, {"t": np.array([5])})
    with pytest.raises(StorageError, match="cannot write: No space left"):
        replica.apply(news)
    for _ in range(20):
        replica.lookup("t", np.repeat(np.arange(3000, 3100), 30))
    with pytest.raises(StorageError):
        replica.adapt()
    assert (replica.sequence, len(replica)) == (1, 4000)
    assert np.array_equal(replica.lookup("t", np.arange(4000)), before)
    assert np.array_equal(replica.hot("t", np.arange(4000)), hot)
    os.dup2(kept, ours)  # there is room again
    os.close(kept), os.close(full)
    assert replica.adapt() > 0
    assert replica.apply(news)
    assert replica.hot("t", np.arange(3000, 3100)).all()
    expected = np.where(np.arange(4000)[:, None] % 3 == 0, -weights, weights)
    expected = np.where(
        replica.hot("t", np.arange(4000))[:, None], expected, shown("fp32", "int8", expected, False)
    )
    expected[5] = 0
    assert np.array_equal(replica.lookup("t", np.arange(4000)), expected)


def test_a_forked_process_may_not_use_its_parents_file(tmp_path):
    spec = TableSpec(name="t", dim=16)
    replica = Replica([spec], levels=Levels(hot_bytes=64, folder=tmp_path, cold="disk"))
    replica.replace(replicas.snapshot([spec], 1, {"t": (np.arange(10), np.ones((10, 16)))}))
    child = os.fork()
    if child == 0:
        try:
            replica.lookup("t", np.arange(10))
        except StorageError as error:
            os._exit(0 if "a forked process needs a replica of its own" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert replica.lookup("t", np.arange(10)).all()


def test_what_makes_no_sense_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cold is 'tape'; it must be one of"):
        Levels(hot_bytes=1, folder=tmp_path, cold="tape")
    with pytest.raises(ConfigError, match="hot_bytes is 0"):
        Levels(hot_bytes=0, folder=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="which is a file"):
        Levels(hot_bytes="1GiB", folder=tmp_path / "file")
    with pytest.raises(ConfigError, match="cold rows would be int8, as hot ones are"):
        Replica(SPECS, precision="int8", levels=Levels(hot_bytes=1, folder=tmp_path))
    with pytest.raises(StorageError, match="cannot make the folder"):
        Replica(SPECS, levels=Levels(hot_bytes=1, folder=tmp_path / "file" / "below"))
    flat = Replica(SPECS)
    assert (flat.adapt(), flat.stats().levels) == (0, None)
    assert flat.hot("a", IDS).tolist() == [False] * 60
