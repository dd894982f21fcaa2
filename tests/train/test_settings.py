import json

import pytest

from larix.errors import ConfigError
from larix.model.loss import LossConfig
from larix.train import Schedule, Settings


def test_settings_come_back_from_json_as_they_were():
    settings = Settings(
        batch_size=7,
        bf16=True,
        loss=LossConfig(weights={"is_click": 2.0}),
        dense_schedule=Schedule(warmup_steps=3, decay="cosine"),
    )
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_a_setting_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="memory_budget"):
        Settings.from_json({"memory_budget": "4GiB"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"epochs": 0},
        {"prefetch": 0},
        {"keep": 0},
        {"steps": -1},
        {"staleness": -1},
        {"shuffle": -1},
        {"clip_norm": float("nan")},
        {"clip_rows": -0.5},
        {"save_every": -1},
        {"average": 1.0},
        {"seed": -1},
        {"seed": 2**63},
        {"threads": -2},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"Settings.{next(iter(wrong))} is"):
        Settings(**wrong)
