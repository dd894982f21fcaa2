import pytest

from larix.errors import ConfigError
from larix.recipes.online import settings_from
from larix.train.online import Drift, OnlineSettings


def test_settings_are_words():
    settings = settings_from(
        ["batch_size=512", "window_s=30", "clock=event_time", "rows_scale=0.5"], OnlineSettings()
    )
    assert (settings.batch_size, settings.window_s, settings.clock) == (512, 30, "event_time")
    assert settings.rows_scale == 0.5
    assert settings.keep == 2
    assert settings.drift == Drift()


def test_what_holds_publishing_can_be_told_and_switched_off():
    settings = settings_from(
        ["drift.calibration=(0.2, 5)", "drift.loss_jump=None", "drift.positives=20"], OnlineSettings(keep=7)
    )
    assert settings.keep == 7
    assert settings.drift == Drift(calibration=(0.2, 5), loss_jump=None, positives=20)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("batch_size", "is no setting of an online run; they are batch_size=1024"),
        ("drift=1", "is no setting"),
        ("batch_size=many", "the setting 'batch_size' is a int such as 1024, got 'many'"),
        ("window_s=soon", "is a float such as 60.0, got 'soon'"),
        ("keep=0", "must be at least 1"),
        ("keep=None", "is a int such as 2, got 'None'"),
        ("drift.loss_jump=much", "is a float such as 1.5, got 'much'"),
        ("drift.calibration=(1, 2, 3)", "is a tuple such as"),
        ("drift.calibration=(1, 'x')", "is a tuple such as"),
        ("drift.healthy=None", "is a int such as 20"),
    ],
)
def test_other_words_are_refused(word, said):
    with pytest.raises(ConfigError, match=said):
        settings_from([word], OnlineSettings())
