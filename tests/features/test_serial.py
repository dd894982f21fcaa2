import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix import features as fx
from larix.errors import ConfigError

from .test_sample import SAMPLE

finite = st.floats(allow_nan=False, allow_infinity=False)


def test_a_sample_reads_back_equal_and_writes_the_same_text_again():
    again = fx.Sample.from_json(SAMPLE.to_json())
    assert again == SAMPLE
    assert list(again.features) == list(SAMPLE.features)
    assert again.to_json() == SAMPLE.to_json()
    assert again.id_slots == SAMPLE.id_slots


@given(
    finite,
    finite.map(abs),
    st.lists(finite, min_size=1, max_size=9, unique=True).map(sorted),
    st.one_of(st.none(), st.tuples(finite, st.none()), st.tuples(st.none(), finite)),
    st.one_of(finite, st.just("mean"), st.just("error")),
)
def test_fitted_state_reads_back_to_the_last_bit(mean, std, edges, clip, missing):
    number = fx.Dense("x", standardise=True, clip=clip, missing=missing, mean=mean, std=std)
    sample = fx.Sample(
        x=number,
        b=fx.Bucket("x", quantiles=4, edges=edges, dim=2),
        h=fx.Sequence(v=fx.Id("v", dim=2), x=number, newest=3),
    )
    again = fx.Sample.from_json(sample.to_json())
    assert again == sample
    assert again.features["x"].mean.hex() == float(mean).hex()
    assert again.is_fitted


def changed(**changes):
    return json.dumps(json.loads(SAMPLE.to_json()) | changes)


def with_feature(**changes):
    document = json.loads(SAMPLE.to_json())
    document["features"][0] |= changes
    return json.dumps(document)


def with_element(**changes):
    document = json.loads(SAMPLE.to_json())
    document["features"][-1]["elements"][1] |= changes
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a sample's JSON does not parse"),
        ("[]", r"a sample in JSON is an object, but got \[\]"),
        ("{}", "format None; this version of larix reads 1"),
        (changed(format=2), "format 2; this version of larix reads 1"),
        (changed(version=1), r"a sample has unknown keys \['version'\] in JSON; it knows"),
        (changed(features={}), r"has features=\{\}; it must be a list"),
        (changed(features=[]), "needs at least one feature"),
        (changed(features=[3]), "a feature in JSON is an object"),
        (changed(tasks=[{"kind": "softmax"}]), "a task has kind 'softmax'; the kinds are binary, seconds"),
        (changed(tasks=None), "has tasks=None; it must be a list"),
        (changed(group=3), "reads a column by its name"),
        (with_feature(kind="Id"), "feature 'user' has kind 'Id'; the kinds are id, ids"),
        (with_feature(kind=["id"]), "feature 'user' has kind"),
        (with_feature(hash=True), r"feature 'user' has unknown keys \['hash'\] in JSON"),
        (with_feature(dim="16"), "has dim '16'"),
        (with_feature(name="video"), "names a feature 'video'; each needs a name of its own"),
        (with_feature(name=None), "names a feature None"),
        (with_feature(name="group"), r"features may not be named \['group'\]"),
        (with_element(pool="sum"), r"element 'click' of feature 'history' has unknown keys \['pool'\]"),
        (
            with_element(kind="bucket"),
            "element 'click' of feature 'history' has kind 'bucket'; the kinds are id, dense",
        ),
        (with_element(name="video"), "feature 'history' names an element 'video'"),
        (with_element(column=None), "Id reads a column by its name"),
    ],
)
def test_text_that_is_no_sample_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        fx.Sample.from_json(text)


def test_a_key_left_out_is_refused_where_it_is_needed():
    document = json.loads(SAMPLE.to_json())
    del document["features"][0]["column"]
    with pytest.raises(ConfigError, match="feature 'user' does not read as Id"):
        fx.Sample.from_json(json.dumps(document))


def test_wrong_types_in_json_are_config_errors():
    for key, value in (("edges", [1, "2"]), ("edges", 3), ("edges", [1, math.inf]), ("quantiles", "8")):
        document = json.loads(SAMPLE.to_json())
        document["features"][6][key] = value
        with pytest.raises(ConfigError):
            fx.Sample.from_json(json.dumps(document))
