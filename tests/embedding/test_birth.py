import numpy as np
import pytest

from larix.embedding import Constant, Normal, TableSpec, Uniform, birth

IDS = np.arange(-5_000, 5_000)


def test_a_birth_depends_on_seed_table_and_id_and_on_nothing_else(store):
    def first(seed, name, ids, dim=4):
        return store([TableSpec(name=name, dim=dim)], seed=seed).lookup(name, ids, insert=True)

    rows = first(1, "a", IDS)
    assert np.array_equal(rows[::-1], first(1, "a", IDS[::-1].copy()))
    assert np.array_equal(rows[:, :2], first(1, "a", IDS, dim=2))
    assert not np.any(rows == first(2, "a", IDS))
    assert not np.any(rows == first(1, "b", IDS))
    assert (
        len(np.unique(rows)) > 0.99 * rows.size
    )  # no two ids or columns draw alike, beyond chance in 24 bits


def test_the_recipe_of_births_never_changes():
    """Saved models rely on it: a row that is evicted and seen again must be born as it was."""
    key = birth.table_key(7, "video")
    assert key == 0xE70D7D1490C147EC
    drawn = [birth.born(init, key, np.array([-1]), 2) for init in (Uniform(scale=1.0), Normal(std=1.0))]
    assert [array.tobytes().hex() for array in drawn] == ["44cf17bf80868a3c", "b28799beda9b033f"]


def test_uniform_births_fill_their_range_evenly():
    drawn = birth.born(Uniform(scale=0.5), birth.table_key(0, "a"), IDS, 16)
    assert drawn.dtype == np.float32
    assert drawn.min() >= -0.5
    assert drawn.max() < 0.5
    counts, _ = np.histogram(drawn, bins=20, range=(-0.5, 0.5))
    assert np.abs(counts / drawn.size * 20 - 1).max() < 0.03


def test_normal_births_have_the_moments_of_a_bounded_normal():
    drawn = birth.born(Normal(std=2.0), birth.table_key(0, "a"), IDS, 16).astype(np.float64)
    assert abs(drawn.mean()) < 0.02
    assert drawn.std() == pytest.approx(2.0, rel=0.01)
    assert np.abs(drawn).max() <= 3.5 * 2.0
    assert abs((drawn**3).mean()) / 8 < 0.03
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] == pytest.approx(0, abs=0.03)


def test_constant_births_are_the_value():
    assert np.all(birth.born(Constant(value=0.1), 1, IDS, 3) == np.float32(0.1))
