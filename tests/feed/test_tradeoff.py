import itertools

import numpy as np
import pytest

from larix.batch import Jagged
from larix.errors import DataError
from larix.feed import DPP, MMR, SSD
from larix.feed.tradeoff import Request, measure, settings, trade_off


def request(seed, count=30, dim=6):
    """Candidates of five themes, the first the most relevant; every second item has its theme twice as a tag."""
    random = np.random.default_rng(seed)
    themes = random.integers(0, 5, count)
    offsets = np.concatenate([[0], np.cumsum(np.arange(count) % 2 * 2)])
    tags = np.repeat(themes, np.diff(offsets)) + np.arange(offsets[-1]) % 2 * 5
    vectors = np.eye(5, dim)[themes] + 0.2 * random.standard_normal((count, dim))
    return Request(
        relevance=(random.random(count) - 0.4 * themes + 2).astype(np.float32),
        vectors=vectors.astype(np.float32),
        categories={"theme": Jagged(themes), "tag": Jagged(tags, offsets)},
    )


def by_hand(requests, method, count):
    """What ``measure`` says, pair by pair and item by item."""
    relevance, best, distance, themes, tags = [], [], [], [], []
    for each in requests:
        page = method.page(each.relevance, each.vectors, count).items.tolist()
        relevance.append(sum(float(each.relevance[item]) for item in page) / len(page))
        best.append(sum(sorted(each.relevance.astype(float), reverse=True)[: len(page)]) / len(page))
        rows = each.vectors.astype(float)
        cosines = [
            rows[a] @ rows[b] / np.sqrt(rows[a] @ rows[a]) / np.sqrt(rows[b] @ rows[b])
            for a, b in itertools.combinations(page, 2)
        ]
        distance.append(1 - sum(cosines) / len(cosines))
        themes.append(len({int(each.categories["theme"].values[item]) for item in page}))
        jagged = each.categories["tag"]
        spans = [jagged.values[jagged.offsets[item] : jagged.offsets[item + 1]].tolist() for item in page]
        tags.append(len(set(itertools.chain(*spans))))
    share = 1 - np.mean(relevance) / np.mean(best)
    return np.mean(relevance), share, np.mean(distance), np.mean(themes), np.mean(tags)


@pytest.mark.parametrize("method", [MMR(balance=0.4), DPP(balance=0.4), SSD(gamma=2.0)])
def test_an_outcome_is_what_counting_by_hand_gives(method):
    requests = [request(seed, count=5 + 5 * seed) for seed in range(6)]
    found = measure(requests, method, 8)
    flat = (found.relevance, found.given_up, found.distance, found.coverage["theme"], found.coverage["tag"])
    np.testing.assert_allclose(flat, by_hand(requests, method, 8), rtol=1e-6)


@pytest.mark.parametrize("name", ["MMR", "DPP", "SSD"])
def test_a_curve_goes_from_relevance_alone_to_diversity(name):
    requests = [request(seed) for seed in range(20)]
    curve = trade_off(requests, settings(window=4)[name], 8)
    outcomes = [outcome for _, outcome in curve]
    assert [method for method, _ in curve] == settings(window=4)[name]
    assert outcomes[0].given_up == pytest.approx(0, abs=1e-9)
    given_up = [outcome.given_up for outcome in outcomes]
    assert given_up[-1] > 0.1
    assert all(later > earlier - 0.02 for earlier, later in itertools.pairwise(given_up))
    assert outcomes[-1].distance > outcomes[0].distance + 0.1
    assert outcomes[-1].coverage["theme"] > outcomes[0].coverage["theme"] + 1


def test_items_without_a_vector_or_a_category_count_as_nothing():
    nothing = Request(
        relevance=np.ones(3, np.float32),
        vectors=np.zeros((3, 4), np.float32),
        categories={"tag": Jagged(np.empty(0, np.int64), np.zeros(4, np.int64))},
    )
    found = measure([nothing], MMR(), 3)
    assert (found.distance, found.coverage["tag"], found.given_up) == (1.0, 0.0, 0.0)


def test_pages_of_nothing_say_nothing():
    empty = Request(relevance=np.empty(0, np.float32), vectors=np.empty((0, 4), np.float32), categories={})
    with pytest.raises(DataError, match="no candidate"):
        measure([empty], MMR(), 5)
    full = request(0)
    assert measure([full], SSD(), 1).distance == 0.0
    with pytest.raises(DataError, match="no candidate"):
        measure([full], MMR(), 0)
