import json

import pytest

from larix.errors import ConfigError
from larix.train import Schedule
from larix.train.online import OnlineSettings


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"span_s": 0.0}, "span_s is 0.0; it must be above 0"),
        ({"publish_every_s": -1.0}, "must not be negative"),
        ({"rows_scale": float("nan")}, "must not be negative"),
        ({"schedule": Schedule(decay="cosine")}, "an online run has no end to decay to"),
        ({"clock": "wall"}, "one of"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        OnlineSettings(**wrong)


def test_they_can_be_written_down():
    said = json.loads(json.dumps(OnlineSettings(schedule=Schedule(warmup_steps=5)).to_json()))
    assert said["schedule"]["warmup_steps"] == 5
    assert set(said) == set(OnlineSettings.names())
