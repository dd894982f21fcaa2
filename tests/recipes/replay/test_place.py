from dataclasses import replace

import pytest

from larix.errors import ConfigError, StorageError
from larix.recipes.replay import Place, Told

TOLD = Told(
    run="run",
    join={},
    identity=["id"],
    trained_to="2022-05-02",
    first="2022-05-03",
    last="2022-05-06",
    measured="2022-05-05",
)


def test_what_a_replay_was_told_is_read_back_and_can_be_changed(tmp_path):
    place = Place(tmp_path / "replay")
    assert not place.there
    place.begin(TOLD)
    assert place.there
    assert Place(tmp_path / "replay").told() == TOLD
    place.change(replace(TOLD, speed=10.0))
    assert place.told().speed == 10.0
    with pytest.raises(ConfigError, match="go on with it by --resume"):
        place.begin(TOLD)


def test_a_folder_that_says_something_else_is_refused(tmp_path):
    place = Place(tmp_path)
    with pytest.raises(StorageError, match="cannot be read"):
        place.told()
    (tmp_path / "replay.json").write_text('{"run": "x", "colour": 3}')
    with pytest.raises(StorageError, match="another version"):
        place.told()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"speed": -1.0}, "the speed is -1.0"),
        ({"ahead": 0}, "ahead is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"first": "2022-05-02"}, "in the order trained, first, measured, last"),
        ({"measured": "2022-05-07"}, "in the order"),
        ({"measured": "2022-05-01"}, "in the order"),
    ],
)
def test_what_cannot_be_is_refused(change, why):
    with pytest.raises(ConfigError, match=why):
        replace(TOLD, **change)


def test_what_is_sent_together_grows_with_the_speed():
    assert [replace(TOLD, speed=speed).slice_ms for speed in (1.0, 3600.0, 40_000.0, None)] == [
        60_000,
        72_000,
        800_000,
        600_000,
    ]
