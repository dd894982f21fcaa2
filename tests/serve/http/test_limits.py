import pytest

from larix.errors import ConfigError
from larix.serve.http import Limits


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"candidates": 0}, "candidates is 0"),
        ({"body_s": -1.0}, "body_s"),
        ({"write_s": float("nan")}, "write_s"),
        ({"header_bytes": 100}, "8192 or more"),
        ({"held_bytes": 1 << 20}, "held_bytes"),
        ({"timeout_s": 100.0}, "above longest_s"),
    ],
)
def test_limits_that_cannot_hold_are_refused(change, why):
    with pytest.raises(ConfigError, match=why):
        Limits(**change)
