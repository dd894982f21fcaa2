"""Every choice of the kernels is held against one made from scratch: see greedy.py."""

import threading

import greedy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from larix.errors import DataError
from larix.feed import kernels

METHODS = ("mmr", "dpp", "ssd")


def choose(method, relevance, vectors, count, weight, window):
    key = "gamma" if method == "ssd" else "balance"
    return getattr(kernels, method)(relevance, vectors, count, window=window, **{key: weight})


def check(method, relevance, vectors, count, weight, window):
    """Each place of the kernel's page holds what is best after those before it, the first of equal twins."""
    page = choose(method, relevance, vectors, count, weight, window)
    rows, items = greedy.units(vectors), page.items.tolist()
    assert sorted(set(items)) == sorted(items)
    assert len(items) == min(count, len(rows))
    window = max(count, 1) if window is None else window
    for place, item in enumerate(items):
        scores, gains = greedy.scores_of(method, relevance, rows, items[:place], weight, window)
        slack = 1e-6 * (1 + np.abs(scores[np.isfinite(scores)]).max())
        assert scores[item] >= scores.max() - slack, (place, items, scores)
        np.testing.assert_allclose(page.diversity[place], gains[item], rtol=1e-6, atol=1e-6)
        twins = (vectors == vectors[item]).all(axis=1) & (relevance == relevance[item])
        assert item == min(twin for twin in np.flatnonzero(twins) if twin not in items[:place])


def some_case(random):
    """Candidates, a page's length and a window, mostly small; relevance never ties."""
    count, dim = int(random.integers(0, 17)), int(random.integers(1, 9))
    relevance = random.permutation(count).astype(np.float32) * np.float32(0.01) + random.random(
        count, np.float32
    )
    vectors = random.standard_normal((count, dim)).astype(np.float32)
    wanted = int(random.integers(0, count + 4))
    window = [None, 1, 2, 3, 5, 30][int(random.integers(6))]
    return relevance, vectors, wanted, float(random.random()), window


@pytest.mark.parametrize("method", METHODS)
def test_pages_equal_those_of_brute_force(method):
    random = np.random.default_rng(1)
    for _ in range(5000):
        case = some_case(random)
        page, (items, gains) = choose(method, *case), greedy.page(method, *case)
        assert page.items.tolist() == items.tolist(), case
        np.testing.assert_allclose(page.diversity, gains, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_pages_with_duplicates_zeros_and_near_twins_are_greedy_at_every_place(method):
    random = np.random.default_rng(2)
    for _ in range(3000):
        relevance, vectors, wanted, weight, window = some_case(random)
        for item in range(1, len(vectors)):
            like = int(random.integers(item))
            kind = random.integers(8)
            if kind == 0:
                vectors[item] = 0
            elif kind < 3:
                vectors[item] = vectors[like] * np.float32(random.choice([-2, 0.5, 1]))
            elif kind == 3:
                vectors[item] = vectors[like]
                relevance[item] = relevance[like]
            elif kind == 4:
                noise = random.standard_normal(vectors.shape[1]) * 10.0 ** -random.integers(1, 4)
                vectors[item] = vectors[like] + noise.astype(np.float32)
            elif kind == 5:
                relevance[item] = relevance[like]
        check(method, relevance, vectors, wanted, weight, window)


numbers = st.floats(-4, 4, width=32) | st.sampled_from([0.0, 1.0, -1.0, 0.5])


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_candidates_make_a_greedy_page(method, data):
    count, dim = data.draw(st.integers(0, 9)), data.draw(st.integers(1, 4))
    relevance = data.draw(arrays.arrays(np.float32, count, elements=numbers))
    # In eighths, so that what lies in a span lies in it exactly and nothing else comes near.
    vectors = data.draw(arrays.arrays(np.int8, (count, dim), elements=st.integers(-8, 8))) / np.float32(8)
    weight = data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1))
    window = data.draw(st.none() | st.integers(1, 12))
    check(method, relevance, vectors, data.draw(st.integers(0, 12)), weight, window)


def of_axes(method, relevance, axes, count, weight, window):
    """The greedy page of vectors along axes (-1: zeros) in exact arithmetic: likeness is 0 or 1, volume as well."""
    chosen = []
    for _ in range(min(count, len(axes))):
        before = [axes[item] for item in chosen[max(0, len(chosen) - window + 1) :]]
        flat = -1 in before or len(set(before)) < len(before)
        scores = {}
        for item in (item for item in range(len(axes)) if item not in chosen):
            new = axes[item] >= 0 and axes[item] not in before
            if method == "mmr":
                alike = axes[item] >= 0 and axes[item] in before
                scores[item] = weight * relevance[item] - (1 - weight) * alike
            elif method == "ssd":
                scores[item] = relevance[item] + weight * (new and not flat)
            else:
                scores[item] = (new, relevance[item] if not new else weight * relevance[item])
        chosen.append(max(scores, key=lambda item: (scores[item], -item)))
    return chosen


@pytest.mark.parametrize("method", METHODS)
def test_exact_ties_go_to_the_first(method):
    random = np.random.default_rng(3)
    ties = 0
    for _ in range(2000):
        count, dim = int(random.integers(1, 13)), int(random.integers(1, 5))
        relevance = random.integers(0, 4, count).astype(np.float32) / 4
        axes = random.integers(-1, dim, count)
        vectors = np.zeros((count, dim), np.float32)
        lengths = random.choice([0.25, 1, 2, 1024], count)
        vectors[axes >= 0, axes[axes >= 0]] = lengths[axes >= 0]
        wanted, window = int(random.integers(0, 15)), int(random.integers(1, 7))
        weight = float(random.choice([0.25, 0.5, 0.75, 1]))
        page = choose(method, relevance, vectors, wanted, weight, window)
        assert page.items.tolist() == of_axes(method, relevance, axes.tolist(), wanted, weight, window)
        ties += len({*zip(relevance.tolist(), axes.tolist(), strict=True)}) < count
    assert ties > 500


@pytest.mark.parametrize("window", [2, 5, 9])
@pytest.mark.parametrize("method", METHODS)
def test_rounding_does_not_add_up_over_a_long_page(method, window):
    random = np.random.default_rng(4)
    vectors = random.standard_normal((300, 10)).astype(np.float32)
    vectors[100:200] = vectors[:100] + 0.01 * random.standard_normal((100, 10)).astype(np.float32)
    check(method, random.random(300, np.float32), vectors, 300, 0.5, window)


def test_what_an_item_took_is_given_back_when_it_leaves_the_window_and_no_more():
    """The second item leans towards the first. Once the first has left, a copy of the second must have nothing."""
    first, second, away = [1, 0, 0], [1, 1, 0], [0, 0, 1]
    relevance = np.array([9, 8, 1, 0], np.float32)
    page = kernels.ssd(relevance, np.array([first, second, second, away], np.float32), 4, gamma=1.5, window=2)
    assert page.items.tolist() == [0, 1, 3, 2]
    np.testing.assert_allclose(page.diversity, 1.5 * np.array([1, 0.5**0.5, 1, 1]))
    page = kernels.ssd(relevance, np.array([first, second, first, away], np.float32), 4, gamma=0.01, window=2)
    assert page.items.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(page.diversity, 0.01 * np.array([1, 0.5**0.5, 0.5**0.5, 1]))


@pytest.mark.parametrize("method", METHODS)
def test_only_the_direction_of_a_vector_counts(method):
    random = np.random.default_rng(5)
    vectors = random.standard_normal((40, 6)).astype(np.float32)
    lengths = np.exp2(random.integers(-60, 60, (40, 1))).astype(np.float32)
    args = (20, 0.5, 4)
    relevance = random.random(40, np.float32)
    plain, scaled = (choose(method, relevance, each, *args) for each in (vectors, vectors * lengths))
    np.testing.assert_array_equal(plain.items, scaled.items)
    np.testing.assert_array_equal(plain.diversity, scaled.diversity)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_nothing_to_choose_from_and_vectors_without_columns_are_fine(method, shape):
    page = choose(method, np.arange(shape[0], dtype=np.float32), np.zeros(shape, np.float32), 5, 0.5, 3)
    assert page.items.tolist() == [2, 1, 0][3 - shape[0] :]


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_fit_or_is_not_finite_is_refused_by_name(method):
    good = np.ones(3, np.float32), np.ones((3, 2), np.float32)
    for relevance, vectors in ((good[0][:2], good[1]), (good[0], good[1][0]), (good[0][None], good[1])):
        with pytest.raises(DataError, match="shape"):
            choose(method, relevance, vectors, 2, 0.5, 2)
    with pytest.raises(DataError, match="-1 items"):
        choose(method, *good, -1, 0.5, 2)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(DataError, match="candidate 1 has a relevance"):
            choose(method, np.array([0, bad, bad]), good[1], 2, 0.5, 2)
        with pytest.raises(DataError, match="candidate 2 has a vector"):
            choose(method, good[0], np.array([[1, 1], [1, 1], [1, bad]]), 2, 0.5, 2)


def test_threads_choose_at_the_same_time():
    random = np.random.default_rng(6)
    vectors, relevance = random.standard_normal((300, 16)), random.random(300)
    alone = [choose(method, relevance, vectors, 40, 0.5, 6).items.tolist() for method in METHODS]
    found = {}

    def work(number):
        found[number] = [choose(method, relevance, vectors, 40, 0.5, 6).items.tolist() for method in METHODS]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(8)] == [alone] * 8


def test_the_oracles_volumes_are_roots_of_gram_determinants():
    random = np.random.default_rng(7)
    for _ in range(200):
        rows = greedy.units(random.standard_normal((int(random.integers(1, 6)), 6)))
        gram = rows @ rows.T
        np.testing.assert_allclose(greedy.volumes(rows[:-1], rows[-1:]) ** 2, np.linalg.det(gram), atol=1e-12)
        left = greedy.outside(rows[:-1], rows[-1:])
        np.testing.assert_allclose(left, np.linalg.det(gram) / np.linalg.det(gram[:-1, :-1]), atol=1e-9)
