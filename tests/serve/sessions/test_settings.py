import math

import pytest

from larix.errors import ConfigError
from larix.serve.sessions import SessionSettings


def test_the_defaults_are_allowed():
    assert SessionSettings().ttl_s <= SessionSettings().longest_ttl_s


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("side_bytes", -1),
        ("side_bytes", 1.5),
        ("answer_bytes", True),
        ("ended", -1),
        ("bearer_share", 0.0),
        ("bearer_share", 1.1),
        ("bearer_share", math.nan),
        ("ttl_s", 0.0),
        ("ttl_s", 601.0),
        ("life_s", math.inf),
        ("tick_s", math.nan),
    ],
)
def test_what_is_out_of_range_is_named(name, value):
    with pytest.raises(ConfigError, match=name):
        SessionSettings(**{name: value})
