import json

import pytest
from hypothesis import given
from join_events import spec_of, specs

from larix.data.join import Action, Clicked, Downsample, Impressions, JoinSpec, Toggle, Total
from larix.errors import ConfigError

AT = {"key": "key", "time": "time", "event_id": "id"}


@given(specs(keys="string", ids="int64", idle_s=3))
def test_a_spec_comes_back_from_its_json(spec):
    assert JoinSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_json_of_something_else_is_refused():
    said = spec_of().to_json()
    for wrong in (
        {},
        said | {"more": 1},
        said | {"labels": [{"name": "x", "form": "worn", "action": "click"}]},
    ):
        with pytest.raises(ConfigError, match="no join's declaration"):
            JoinSpec.from_json(wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"labels": {}}, "without a label"),
        ({"labels": {"x": Clicked("tap")}}, "label 'x' needs action 'tap'"),
        ({"labels": {"x": Total("click")}}, "label 'x' sums values of action 'click'"),
        ({"labels": {"sample_rate": Clicked("click")}}, "'sample_rate', which is a column of every sample"),
        ({"labels": {"time": Clicked("click")}}, "'time', which is a column of every sample"),
        ({"window_s": -1}, "window_s=-1"),
        ({"window_s": None}, "window_s=None"),
        ({"lateness_s": float("nan")}, "lateness_s=nan"),
        ({"idle_s": "1"}, "idle_s='1'"),
        ({"emit": "soon"}, "emit='soon'"),
        ({"keys": "int32"}, "keys='int32'"),
        ({"negatives": Downsample(label="seen", rate=0.5)}, "told by 'seen'"),
        (
            {"impressions": Impressions("acts", key="key", time="at", event_id="id")},
            "share their column of time",
        ),
        ({"actions": (Action("click", topic="acts", **AT),) * 2}, "two actions are called 'click'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(wrong, said):
    with pytest.raises(ConfigError, match=said):
        spec_of(**wrong)


def test_parts_are_checked_where_they_are_made():
    with pytest.raises(ConfigError, match="called 'impression'"):
        Action("impression", topic="acts", **AT)
    with pytest.raises(ConfigError, match="need a name as their key"):
        Impressions("shows", key="", time="time", event_id="id")
    with pytest.raises(ConfigError, match=r"compared with 1\.5"):
        Action("click", topic="acts", where={"kind": 1.5}, **AT)
    with pytest.raises(ConfigError, match="two actions are needed"):
        Toggle("like", "like")
    for rate in (0, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="at a rate of"):
            Downsample(label="x", rate=rate)


def test_a_share_of_keys_is_kept_the_same_one_every_time():
    few = Downsample(label="x", rate=0.2, seed=1)
    kept = [key for key in range(5000) if few.keeps(key)]
    assert 900 < len(kept) < 1100
    assert kept == [key for key in range(5000) if few.keeps(str(key))]
    assert kept != [key for key in range(5000) if Downsample(label="x", rate=0.2, seed=2).keeps(key)]
    # md5("1:7") begins with 0xa9857b21
    assert Downsample(label="x", rate=0xA9857B22 / 2**32, seed=1).keeps(7)
    assert not Downsample(label="x", rate=0xA9857B21 / 2**32, seed=1).keeps(7)


def test_what_the_join_makes_follows_from_how_it_emits_and_what_it_leaves_out():
    labels, few = {"x": Clicked("click")}, Downsample(label="x", rate=0.5)
    assert spec_of(labels=labels, emit="end", negatives=None).made == ("x", "ready_ms")
    every = spec_of(labels=labels, emit="at_once", negatives=few).made
    assert every == ("x", "sample_rate", "correction", "ready_ms")
