import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.data.log.offsets import Offsets
from larix.errors import ConfigError, DataError


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 1000), st.integers(0, 2**63 - 1)), st.text(), st.text())
def test_a_position_survives_json(offsets, log, topic):
    here = Offsets(log=log, topic=topic, next=offsets)
    assert Offsets.from_json(json.loads(json.dumps(here.to_json()))) == here


@pytest.mark.parametrize(
    "said",
    [
        {},
        [],
        {"log": "a", "topic": "b"},
        {"log": "a", "topic": "b", "next": [1]},
        {"log": "a", "topic": "b", "next": {"x": 1}},
        {"log": "a", "topic": "b", "next": {"0": -1}},
        {"log": "a", "topic": "b", "next": {"0": 1.5}},
        {"log": "a", "topic": "b", "next": {"0": True}},
        {"log": "a", "topic": "b", "next": {"0": "1"}},
    ],
)
def test_something_else_is_no_position(said):
    with pytest.raises(DataError, match="is no position in a log"):
        Offsets.from_json(said)


def test_a_position_fits_its_own_log_and_topic_only():
    here = Offsets(log="a", topic="clicks", next={0: 1})
    here.fits("a", "clicks")
    with pytest.raises(ConfigError, match="of topic 'clicks', not of 'likes'"):
        here.fits("a", "likes")
    with pytest.raises(ConfigError, match="of log a, but this log is b: offsets of one say nothing"):
        here.fits("b", "clicks")
