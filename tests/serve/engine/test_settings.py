import math

import pytest

from larix.embedding.check import threads
from larix.errors import ConfigError
from larix.serve.engine import EngineSettings


def test_by_default_there_is_a_worker_a_core():
    assert EngineSettings().workers == EngineSettings().dense == threads(0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"dense": 1.5},
        {"together": True},
        {"window_s": -1.0},
        {"wait_s": math.inf},
        {"stall_s": 0.0},
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(wrong):
    [(name, value)] = wrong.items()
    with pytest.raises(ConfigError, match=f"{name} is {value!r}"):
        EngineSettings(**wrong)
