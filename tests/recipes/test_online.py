import pytest

from larix.errors import ConfigError
from larix.recipes.online import settings_from


def test_settings_are_words():
    settings = settings_from(["batch_size=512", "window_s=30", "clock=event_time", "rows_scale=0.5"])
    assert (settings.batch_size, settings.window_s, settings.clock) == (512, 30, "event_time")
    assert settings.rows_scale == 0.5
    assert settings.keep == 2


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("batch_size", "is no setting of an online run; they are batch_size=1024"),
        ("drift=1", "is no setting"),
        ("batch_size=many", "the setting 'batch_size' is a int, got 'many'"),
        ("window_s=soon", "is a float, got 'soon'"),
        ("keep=0", "must be at least 1"),
    ],
)
def test_other_words_are_refused(word, said):
    with pytest.raises(ConfigError, match=said):
        settings_from([word])
