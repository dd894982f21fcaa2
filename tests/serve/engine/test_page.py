import numpy as np
import pytest
from engine_fakes import STAMP, request
from hypothesis import given
from hypothesis import strategies as st

from larix.errors import ConfigError
from larix.features import Binary, Seconds
from larix.feed import SSD, LiveValueModel, PowerProduct, ValueModel, WeightedSum
from larix.feed.serial import write
from larix.serve.engine import Pages
from larix.serve.engine.page import best, predictions
from larix.serve.refusal import Refusal, Why
from larix.serve.scorer import Looked, User

TASKS = (Binary("click"), Seconds("play_ms", "play"))
VALUE = ValueModel(fusion=WeightedSum(weights={"click": 1.0}), scenes={4: WeightedSum(weights={"play": 1.0})})


def looked(rows, scene=None, vectors=None, **missing):
    user = User(arrays={}, stamp=STAMP, scene=scene, missing={"user": 1, "item": 2})
    return Looked(user=user, rows=rows, arrays={}, stamp=STAMP, vectors=vectors, missing=missing)


def logits(rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 2)).astype(np.float32)


def test_logits_become_probabilities_and_seconds():
    found = predictions(TASKS, np.array([[0.0, np.log1p(3.0)], [-200.0, -1.0], [200.0, 90.0]], np.float32))
    assert found["click"].dtype == found["play"].dtype == np.float32
    assert found["click"].tolist() == [0.5, 0.0, 1.0]
    assert found["play"][:2] == pytest.approx([3.0, 0.0])
    assert np.isfinite(found["play"][2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_no_number_is_the_server_s_fault(bad):
    given = logits(5)
    given[3, 1] = bad
    with pytest.raises(Refusal, match="for 'play' of candidate 3") as raised:
        predictions(TASKS, given)
    assert raised.value.why is Why.BROKEN


def test_the_page_is_by_value_best_first_and_no_longer_than_asked_for():
    pages = Pages(tasks=TASKS, value=VALUE)
    given = logits(20)
    answer = pages.answer(request(20, id="a", count=5), looked(20), given, {"whole": 1.0})
    assert (answer.id, answer.stamp, answer.seconds) == ("a", STAMP, {"whole": 1.0})
    assert answer.order.tolist() == np.argsort(-given[:, 0])[:5].tolist()
    assert answer.value.shape == (20,)
    assert answer.explanation is None
    assert answer.missing == {"user": 1, "item": 2}
    assert len(pages.answer(request(20), looked(20), given, {}).order) == 20


def test_the_scene_of_the_request_decides_what_counts():
    given = logits(20)
    answer = Pages(tasks=TASKS, value=VALUE).answer(request(20), looked(20, scene=4), given, {})
    assert answer.order.tolist() == np.argsort(-np.maximum(given[:, 1], 0), kind="stable").tolist()


def test_why_an_item_is_worth_so_much_is_told_on_request():
    answer = Pages(tasks=TASKS, value=VALUE).answer(request(20, explain=True), looked(20), logits(20), {})
    assert answer.explanation.item(3)["value"] == answer.value[3]
    assert answer.explanation.item(3)["tasks"]["click"]["weight"] == 1.0


def test_what_is_missing_on_both_sides_is_summed():
    answer = Pages(tasks=TASKS, value=VALUE).answer(request(20), looked(20, item=5, tag=1), logits(20), {})
    assert answer.missing == {"user": 1, "item": 7, "tag": 1}


def test_diversity_chooses_the_first_places_and_value_the_others():
    vectors = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    diversity, given = SSD(gamma=5.0, window=3), logits(20)
    pages = Pages(tasks=TASKS, value=VALUE, diversity=diversity, places=6)
    answer = pages.answer(request(20), looked(20, vectors=vectors), given, {})
    chosen = diversity.page(answer.value, vectors, 6).items.tolist()
    assert answer.order[:6].tolist() == chosen
    assert sorted(answer.order.tolist()) == list(range(20))
    rest = answer.value[answer.order[6:]]
    assert (np.diff(rest) <= 0).all()
    by_value = np.argsort(-answer.value)
    assert chosen != by_value[:6].tolist()
    few = pages.answer(request(20, count=4), looked(20, vectors=vectors), given, {})
    assert few.order.tolist() == diversity.page(answer.value, vectors, 4).items.tolist()
    for asked, beside in ((request(20, diversity=False), vectors), (request(20), None)):
        plain = pages.answer(asked, looked(20, vectors=beside), given, {})
        assert plain.order.tolist() == by_value.tolist()


def test_a_changed_value_model_counts_once_it_is_refreshed_and_never_before(tmp_path):
    path = tmp_path / "value.json"
    path.write_text(write(VALUE))
    pages = Pages(tasks=TASKS, value=LiveValueModel(path, ["click", "play"]))
    first = pages.answer(request(20), looked(20), logits(20), {})
    path.write_text(write(ValueModel(fusion=PowerProduct(weights={"play": 1.0}))))
    assert pages.answer(request(20), looked(20), logits(20), {}).value.tolist() == first.value.tolist()
    assert pages.refresh()
    changed = pages.answer(request(20), looked(20), logits(20), {})
    assert changed.value == pytest.approx(np.maximum(changed.predictions["play"], 1e-6))
    assert not pages.refresh()


def test_a_fixed_value_model_has_nothing_to_refresh():
    assert not Pages(tasks=TASKS, value=VALUE).refresh()


def test_a_value_model_of_other_tasks_is_refused():
    with pytest.raises(ConfigError, match=r"weighs \['click', 'play'\]"):
        Pages(tasks=(Binary("like"),), value=VALUE)
    with pytest.raises(ConfigError, match="places is 0"):
        Pages(tasks=TASKS, value=VALUE, places=0)


@given(
    st.one_of(
        st.lists(st.integers(-3, 3), max_size=60), st.lists(st.integers(-3, 3), min_size=80, max_size=99)
    ),
    st.one_of(st.integers(0, 9), st.integers(0, 99)),
)
def test_the_best_are_those_of_a_stable_sort_ties_included(values, count):
    value = np.array(values, np.float64)
    count = min(count, len(values))
    wanted = sorted(range(len(values)), key=lambda index: -values[index])[:count]
    assert best(value, count).tolist() == wanted
