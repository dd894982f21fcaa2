import math

import numpy as np
import pytest

from larix.errors import ConfigError, DataError
from larix.feed import DPP, MMR, SSD, kernels

METHODS = (MMR, DPP, SSD)


def candidates(count=30, dim=8, seed=0):
    random = np.random.default_rng(seed)
    return random.random(count), random.standard_normal((count, dim))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("window", [0, -1, 2.5])
def test_a_window_is_a_number_of_items(method, window):
    with pytest.raises(ConfigError, match=f"window={window}"):
        method(window=window)


@pytest.mark.parametrize("method", [MMR, DPP])
@pytest.mark.parametrize("balance", [-0.1, 1.1, math.nan])
def test_a_balance_lies_between_0_and_1(method, balance):
    with pytest.raises(ConfigError, match=f"balance={balance}"):
        method(balance=balance)


@pytest.mark.parametrize("gamma", [-0.1, math.nan, math.inf])
def test_gamma_is_finite_and_not_negative(gamma):
    with pytest.raises(ConfigError, match=f"gamma={gamma}"):
        SSD(gamma=gamma)


@pytest.mark.parametrize("method", [MMR(balance=1.0), DPP(balance=1.0, window=3), SSD(gamma=0.0)])
def test_relevance_alone_is_the_order_of_scores(method):
    relevance, vectors = candidates()
    page = method.page(relevance, vectors, 12)
    assert page.items.tolist() == np.argsort(-relevance)[:12].tolist()
    assert not page.diversity.any()


def test_each_method_asks_its_kernel_for_what_it_was_told():
    relevance, vectors = candidates()
    for method, page in (
        (MMR(balance=0.4, window=3), kernels.mmr(relevance, vectors, 9, balance=0.4, window=3)),
        (DPP(balance=0.4, window=3), kernels.dpp(relevance, vectors, 9, balance=0.4, window=3)),
        (SSD(gamma=0.4, window=3), kernels.ssd(relevance, vectors, 9, gamma=0.4, window=3)),
    ):
        chosen = method.page(relevance, vectors, 9)
        assert chosen.items.tolist() == page.items.tolist()
        assert chosen.diversity.tolist() == page.diversity.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_no_window_is_a_window_of_the_whole_page(method):
    relevance, vectors = candidates()
    for count in (0, 1, 8, 40):
        whole = method(window=None).page(relevance, vectors, count)
        for window in (max(count, 1), 1000, 2**62):
            assert (
                whole.items.tolist() == method(window=window).page(relevance, vectors, count).items.tolist()
            )


@pytest.mark.parametrize("method", METHODS)
def test_a_page_holds_all_candidates_if_there_are_no_more(method):
    relevance, vectors = candidates(count=5)
    assert sorted(method().page(relevance, vectors, 50).items.tolist()) == [0, 1, 2, 3, 4]
    assert method().page(relevance[:0], vectors[:0], 50).items.tolist() == []
    with pytest.raises(DataError, match="shape"):
        method().page(relevance, vectors[1:], 50)


@pytest.mark.parametrize("method", [MMR(balance=0.3), DPP(balance=0.3), SSD(gamma=2.0)])
def test_diversity_keeps_near_twins_apart(method):
    """Five themes, the most relevant items all of one: a page by relevance shows that alone."""
    random = np.random.default_rng(1)
    themes = np.repeat(np.arange(5), 20)
    vectors = np.eye(5)[themes] + 0.05 * random.standard_normal((100, 5))
    relevance = random.random(100) * 0.1 + (themes == 2)
    assert set(themes[np.argsort(-relevance)[:5]]) == {2}
    assert set(themes[method.page(relevance, vectors, 5).items]) == {0, 1, 2, 3, 4}


def test_a_small_window_lets_a_theme_come_back():
    themes = np.repeat(np.arange(3), 10)
    relevance = np.where(themes == 0, 1.0, 0.5)
    page = SSD(gamma=2.0, window=3).page(relevance, np.eye(3)[themes], 9)
    assert (themes[page.items].reshape(3, 3).sum(axis=0) == [0, 3, 6]).all()
