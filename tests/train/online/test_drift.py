import json

import pytest

from larix.errors import ConfigError
from larix.train.online import Drift
from larix.train.online.drift import DriftAlarm


def window(calibration=1.0, logloss=0.5, positives=200, kind="binary"):
    return {"click": {"kind": kind, "calibration": calibration, "logloss": logloss, "positives": positives}}


def test_calibration_outside_its_band_holds_until_it_is_inside():
    alarm = DriftAlarm(Drift(calibration=(0.8, 1.25)))
    for calibration, held in ((1.0, False), (1.3, True), (0.7, True), (None, True), (0.8, False)):
        alarm.look(window(calibration))
        assert alarm.held == held
    alarm.look(window(1.3))
    assert alarm.why == {"calibration of click": "calibration of 'click' is 1.300, outside 0.8 to 1.25"}


def test_few_positives_say_nothing():
    alarm = DriftAlarm(Drift(positives=100))
    alarm.look(window(9.0, positives=99))
    alarm.look(window(9.0, kind="regression"))
    assert not alarm.held


def test_a_loss_that_jumps_holds_until_it_is_usual_again():
    alarm = DriftAlarm(Drift(calibration=None, loss_jump=1.5, memory=3))
    for loss, held in ((0.4, False), (0.5, False), (0.6, False), (0.76, True), (0.8, True), (0.7, False)):
        alarm.look(window(logloss=loss))
        assert alarm.held == held, loss
    alarm.look(window(logloss=0.95))  # of 0.5, 0.6 and 0.7 by now
    assert "1.58 times its usual 0.6000" in alarm.why["loss of click"]


def test_bad_numbers_hold_for_so_many_healthy_batches():
    alarm = DriftAlarm(Drift(healthy=3))
    alarm.bad_numbers("batch 7")
    for _ in range(2):
        alarm.trained()
    alarm.bad_numbers("batch 9")
    for number in range(3):
        assert alarm.held, number
        alarm.trained()
    assert not alarm.held


def test_nothing_holds_what_is_switched_off():
    alarm = DriftAlarm(Drift(calibration=None, loss_jump=None))
    for loss in (0.1, 9.0):
        alarm.look(window(50.0, logloss=loss))
    assert not alarm.held


def test_it_goes_on_from_its_state():
    alarm = DriftAlarm(Drift(memory=2, healthy=3))
    for loss in (0.4, 0.5, 0.9):
        alarm.look(window(logloss=loss))
    alarm.bad_numbers("batch 3")
    alarm.trained()
    other = DriftAlarm(Drift(memory=2, healthy=3))
    other.restore(json.loads(json.dumps(alarm.state())))
    for each in (alarm, other):
        each.look(window(logloss=0.65))
        each.trained()
        each.trained()
    assert alarm.state() == other.state()
    assert not other.held


def test_what_was_held_by_an_alarm_that_is_switched_off_since_is_held_no_longer():
    alarm = DriftAlarm(Drift(calibration=(0.8, 1.25), loss_jump=1.5))
    for each in (window(), window(2.0, logloss=9.0)):
        alarm.look(each)
    alarm.bad_numbers("batch 3")
    assert set(alarm.why) == {"calibration of click", "loss of click", "numbers"}
    for off, left in (({"loss_jump": None}, "calibration"), ({"calibration": None}, "loss")):
        other = DriftAlarm(Drift(**off))
        other.restore(json.loads(json.dumps(alarm.state())))
        assert set(other.why) == {f"{left} of click", "numbers"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"calibration": (2.0, 1.0)}, "a band such as"),
        ({"loss_jump": 1.0}, "above 1"),
        ({"positives": 0}, "at least 1"),
        ({"healthy": 0}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Drift(**wrong)
