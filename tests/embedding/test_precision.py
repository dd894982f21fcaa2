"""Rounding itself, and what it does to tables of either store. That both stores round alike is in test_histories."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from larix.embedding import (
    FTRL,
    SGD,
    Adagrad,
    Constant,
    Momentum,
    Normal,
    TableSpec,
    Uniform,
    Warmup,
    birth,
    table,
)
from larix.embedding.precision import bf16_of, draws, nearest, stochastic, widened

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
LARGEST = {name: torch.finfo(dtype).max for name, dtype in TYPES.items()}
BITS = {"bf16": 8, "fp16": 11}  # of a significand
LEAST = {"bf16": 2.0**-133, "fp16": 2.0**-24}  # above zero

halves = pytest.mark.parametrize("precision", ["bf16", "fp16"])
any_bits = hnp.arrays(np.uint32, (3, 5), elements=st.integers(0, 2**32 - 1))


def every_value(precision):
    """All values of a precision, infinities and NaN among them."""
    values = np.arange(2**16, dtype=np.uint16).view(np.int16)
    return torch.from_numpy(values).view(TYPES[precision]).float().numpy()[None]


def by_torch(precision, weights):
    return torch.from_numpy(weights).to(TYPES[precision]).float().numpy()


def unit(precision, weights):
    """The distance between the neighbours of each weight."""
    exponent = np.floor(np.log2(np.maximum(np.abs(weights).astype(np.float64), 1e-300)))
    return np.maximum(2.0 ** (exponent + 1 - BITS[precision]), LEAST[precision])


@halves
@given(bits=any_bits)
def test_rounding_to_the_nearest_is_that_of_torch_but_for_what_overflows(precision, bits):
    weights = bits.view(np.float32)
    ours, theirs = nearest(precision, weights), by_torch(precision, weights)
    overflown = np.isinf(theirs) & np.isfinite(weights)
    expected = np.where(overflown, np.copysign(LARGEST[precision], weights), theirs)
    assert np.array_equal(ours, expected.astype(np.float32), equal_nan=True)


@given(bits=any_bits)
def test_an_output_in_bf16_is_rounded_as_torch_casts(bits):
    numbers = bits.view(np.float32)
    ours = bf16_of(numbers)
    assert np.array_equal(widened(ours), by_torch("bf16", numbers), equal_nan=True)
    assert np.array_equal(np.signbit(widened(ours)), np.signbit(numbers))
    assert np.array_equal(bf16_of(widened(ours)), ours)


def test_every_bfloat16_is_widened_to_itself():
    assert np.array_equal(widened(np.arange(2**16, dtype=np.uint16)), every_value("bf16")[0], equal_nan=True)


@halves
@given(bits=any_bits, drawn=any_bits)
def test_stochastic_rounding_gives_one_of_the_two_neighbours(precision, bits, drawn):
    weights = bits.view(np.float32)
    ours = stochastic(precision, weights, drawn)
    finite = np.isfinite(weights)
    assert np.array_equal(ours[~finite], weights[~finite], equal_nan=True)
    assert np.array_equal(ours, by_torch(precision, ours), equal_nan=True)  # a value of the precision
    assert np.array_equal(np.signbit(ours), np.signbit(weights))
    weights, ours = weights[finite].astype(np.float64), ours[finite].astype(np.float64)
    inside = np.abs(weights) <= LARGEST[precision]
    assert (np.abs(ours[~inside]) == LARGEST[precision]).all()
    assert (np.abs(ours - weights)[inside] <= unit(precision, weights[inside])).all()


@halves
def test_a_value_that_fits_is_kept_by_any_rounding(precision):
    values = every_value(precision)
    bits = np.random.default_rng(0).integers(0, 2**32, values.shape, np.uint32)
    for ours in (
        nearest(precision, values),
        *(stochastic(precision, values, b) for b in (bits, bits * 0, ~(bits * 0))),
    ):
        assert np.array_equal(ours, values, equal_nan=True)


@pytest.mark.parametrize("scale", [1.0, 0.05, 1e-3, 3e-5, 1e-6])  # the last two are subnormal in fp16
@halves
def test_stochastic_rounding_is_unbiased(precision, scale):
    """200 values rounded 20,000 times each: their means lie about them as a binomial's do."""
    rounds, dim = 20_000, 200
    values = (scale * np.random.default_rng(7).standard_normal(dim)).astype(np.float32)
    rounded = stochastic(precision, np.tile(values, (rounds, 1)), draws(11, np.arange(rounds), 3, dim))
    width, exact = unit(precision, values), values.astype(np.float64)
    low = np.floor(exact / width) * width
    chance = (exact - low) / width
    sigma = width * np.sqrt(chance * (1 - chance) / rounds)
    off = (rounded.astype(np.float64).mean(axis=0) - exact)[sigma > 0] / sigma[sigma > 0]
    assert len(off) > 0.95 * dim
    assert np.abs(off).max() < 4
    assert abs(off.sum()) / np.sqrt(len(off)) < 4  # nor do all of them lean to one side
    assert 0.7 < (off**2).mean() < 1.4  # and they do spread


def test_draws_depend_on_table_id_step_and_column_and_on_nothing_else():
    ids = np.array([5, -1, 2**62, np.iinfo(np.int64).min])
    whole = draws(3, ids, 9, 7)
    assert np.array_equal(whole[::-1, :4], draws(3, ids[::-1].copy(), 9, 4))
    assert len(np.unique(whole)) == whole.size
    for other in (draws(4, ids, 9, 7), draws(3, ids + 1, 9, 7), draws(3, ids, 10, 7)):
        assert not np.any(whole == other)


def test_the_recipe_of_draws_never_changes():
    """Runs that are gone on with rely on it."""
    assert draws(7, np.array([-1]), 5, 3).tolist() == [[3826445245, 1303812838, 89729963]]


def test_draws_of_neighbouring_ids_steps_and_columns_are_independent():
    n = 50_000
    ids = np.arange(n)
    now, later = draws(1, ids, 0, 4).astype(np.float64), draws(1, ids, 1, 4).astype(np.float64)
    seen = np.concatenate([now, later, np.roll(now, 1, axis=0)[:, :1]], axis=1)
    assert np.abs(seen.mean(axis=0) / 2**32 - 0.5).max() < 5 * np.sqrt(1 / 12 / n)
    assert np.abs(np.corrcoef(seen.T) - np.eye(9)).max() < 5 / np.sqrt(n)


@halves
def test_steps_too_small_for_the_nearest_value_are_made_on_average(store, precision):
    """Each step is an eighth of a unit in the last place: rounding to the nearest would never leave 1."""
    rows, steps = 2_000, 64
    step = 2.0 ** -BITS[precision] / 8  # the neighbour below 1 is 8 of these away, those below that as well
    sgd = SGD(lr=1.0)
    tables = store([TableSpec(name="a", dim=1, optimizer=sgd, init=Constant(value=1.0), precision=precision)])
    ids, grads = np.arange(rows), np.full((rows, 1), step, np.float32)
    assert (nearest(precision, 1 - grads) == 1).all()
    tables.lookup("a", ids, insert=True)
    for _ in range(steps):
        tables.update("a", ids, grads)
    last = tables.lookup("a", ids).astype(np.float64)
    sigma = np.sqrt(steps * 1 / 8 * 7 / 8) * 8 * step / np.sqrt(rows)  # each step: one unit with chance 1/8
    assert abs(last.mean() - (1 - steps * step)) < 4 * sigma
    assert len(np.unique(last)) > 5


@halves
@pytest.mark.parametrize("init", [Uniform(), Normal(std=0.5)])
def test_a_birth_is_rounded_to_the_nearest_whenever_it_happens(store, precision, init):
    tables, ids = store([TableSpec(name="a", dim=5, init=init, precision=precision)], seed=4), np.arange(100)
    expected = by_torch(precision, birth.born(init, birth.table_key(4, "a"), ids, 5))
    for _ in range(3):
        assert np.array_equal(tables.lookup("a", ids, insert=True), expected)
        tables.update("a", ids, np.ones((100, 5), np.float32))
        tables.remove("a", ids)


@halves
def test_state_stays_float32_and_ftrl_starts_from_the_weights_as_they_are_kept(store, precision):
    specs = [
        TableSpec(name="ada", dim=3, optimizer=Adagrad(initial=0.1), precision=precision),
        TableSpec(name="ftrl", dim=3, optimizer=FTRL(beta=1.0, lr=0.5), precision=precision),
    ]
    tables, ids = store(specs), np.arange(20)
    tables.lookup("ada", ids, insert=True)
    assert (tables.read("ada", ids)[1] == np.float32(0.1)).all()
    weights = tables.lookup("ftrl", ids, insert=True)
    assert np.array_equal(tables.read("ftrl", ids)[1][:, :3], -weights)


@halves
def test_a_row_that_is_put_reads_as_the_nearest_and_then_survives_any_move(store, precision):
    specs = [TableSpec(name=name, dim=7, optimizer=SGD(), precision=precision) for name in "ab"]
    tables, rng, ids = store(specs), np.random.default_rng(0), np.arange(500)
    weights, state = rng.standard_normal((500, 7)).astype(np.float32), np.zeros((500, 0), np.float32)
    tables.put("a", ids, weights, state)
    kept = tables.lookup("a", ids)
    assert np.array_equal(kept, by_torch(precision, weights))
    tables.put("b", ids, kept, state)
    assert np.array_equal(tables.lookup("b", ids), kept)
    tables.update("b", ids, np.zeros((500, 7), np.float32))  # and a step of nothing
    assert np.array_equal(tables.lookup("b", ids), kept)


@halves
def test_finite_weights_stay_finite_and_others_are_kept(store, precision):
    tables = store([TableSpec(name="a", dim=5, optimizer=SGD(lr=1.0), precision=precision)])
    given = np.array([[3.4e38, -3.4e38, np.inf, -np.inf, np.nan]], np.float32)
    most = np.float32(LARGEST[precision])
    expected = np.array([[most, -most, np.inf, -np.inf, np.nan]], np.float32)
    tables.put("a", np.array([1]), given, np.zeros((1, 0), np.float32))
    assert np.array_equal(tables.lookup("a", np.array([1])), expected, equal_nan=True)
    tables.update("a", np.array([1]), np.array([[-most * 0.001, most * 0.001, 1, 1, 1]], np.float32))
    assert np.array_equal(tables.lookup("a", np.array([1])), expected, equal_nan=True)


def test_a_saved_table_is_loaded_in_another_precision(store, tmp_path):
    ids = np.arange(50)
    tables = store([TableSpec(name="a", dim=4, precision="fp32")])
    weights = tables.lookup("a", ids, insert=True)
    tables.save(tmp_path / "v")
    for precision in TYPES:
        loaded = store.load(tmp_path / "v", specs=[TableSpec(name="a", dim=4, precision=precision)])
        assert np.array_equal(loaded.lookup("a", ids), by_torch(precision, weights))
        assert np.array_equal(loaded.read("a", ids)[1], tables.read("a", ids)[1])


@halves
def test_a_run_that_was_saved_goes_on_to_the_same_bits(store, precision, tmp_path):
    """Roundings and schedules go by the store's steps, which are saved with it."""
    momentum = Momentum(lr=0.01, schedule=Warmup(steps=15))
    ids, rng = np.arange(30), np.random.default_rng(1)
    grads = rng.standard_normal((20, 30, 5)).astype(np.float32)
    tables = store([TableSpec(name="a", dim=5, optimizer=momentum, precision=precision)])
    tables.lookup("a", ids, insert=True)
    for grad in grads[:10]:
        tables.update("a", ids, grad)
    tables.save(tmp_path / "v")
    loaded = store.load(tmp_path / "v")
    for grad in grads[10:]:
        tables.update("a", ids, grad)
        loaded.update("a", ids, grad)
    assert loaded.steps == tables.steps == 20
    for ours, theirs in zip(loaded.read("a", ids), tables.read("a", ids), strict=True):
        assert np.array_equal(ours, theirs)


@halves
def test_rows_of_16_bits_take_the_memory_that_their_spec_says_they_save(precision):
    specs = [TableSpec(name="a", dim=16, optimizer=SGD(), precision=given) for given in ("fp32", precision)]
    rows, sizes = 100_000, []
    for spec in specs:
        tables = table.Tables([spec], threads=1)
        tables.lookup("a", np.arange(rows), insert=True)
        sizes.append(tables.stats().bytes)
    saved = (sizes[0] - sizes[1]) / (specs[0].row_bytes - specs[1].row_bytes)
    assert rows <= saved <= rows + 32 * 64  # each of 32 shards takes 64 rows at a time
