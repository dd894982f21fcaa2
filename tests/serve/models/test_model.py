import threading
import time
import weakref
from dataclasses import replace

import pytest
from editions import Version, answer_of, request

from larix.errors import ConfigError
from larix.serve.models.model import Model
from larix.serve.refusal import Refusal, Why
from larix.serve.service import State


def model_of(*versions, keep=1):
    model = Model("feed", keep=keep)
    for version in versions:
        model.add(version, Version(version=version))
        model.promote(version)
    return model


def answers_as(model, version="", user=1):
    return model.route(request(user, version=version)).scorer.stamp.version


def states(model):
    model.mind()
    return {each.version: each.state for each in model.status.versions}


def reason(model, version):
    return next(each.reason for each in model.status.versions if each.version == version)


def test_the_live_version_answers_who_names_none_and_others_who_name_them():
    model = model_of("1", "2")
    assert answers_as(model) == "2"
    assert [answers_as(model, each) for each in "12"] == ["1", "2"]
    assert model.status.live == "2"
    assert [each.version for each in model.status.versions] == ["2", "1"]
    assert model.status.ready


def test_a_version_that_is_not_there_is_unknown_and_says_which_are():
    with pytest.raises(Refusal, match=r"no version '9' in memory; it has \['1'\]") as refused:
        answers_as(model_of("1"), "9")
    assert refused.value.why is Why.UNKNOWN


def test_before_anything_is_loaded_and_after_unloading_it_says_why_nothing_answers():
    model = Model("feed")
    with pytest.raises(Refusal, match="nothing was loaded yet") as refused:
        answers_as(model)
    assert refused.value.why is Why.UNAVAILABLE
    model.failed("1", "'tables' is damaged")
    with pytest.raises(Refusal, match="version '1': 'tables' is damaged"):
        answers_as(model)
    model = model_of("1")
    model.unload()
    assert not model.status.ready
    with pytest.raises(Refusal, match="unloaded; load it again"):
        answers_as(model)


def test_a_version_that_cannot_be_had_changes_nothing_but_the_status():
    model = model_of("1")
    model.loading("2")
    assert states(model) == {"2": State.LOADING, "1": State.READY}
    model.failed("2", "its checksum is another")
    assert states(model) == {"1": State.READY, "2": State.UNAVAILABLE}
    assert reason(model, "2") == "its checksum is another"
    assert answers_as(model) == "1"


def test_of_many_that_failed_the_last_are_told():
    model = model_of("1")
    for number in range(50):
        model.failed(f"x{number}", "damaged")
    told = [each.version for each in model.status.versions if each.state is State.UNAVAILABLE]
    assert len(told) == 8
    assert told[0] == "x49"


def test_the_one_before_stays_stopped_and_is_gone_back_to():
    model = model_of("1", "2")
    first, second = model.edition("1"), model.edition("2")
    assert (first.running, second.running) == (False, True)
    assert model.rollback() == "1"
    assert answers_as(model) == "1"
    assert (first.running, second.running) == (True, False)
    assert reason(model, "2") == "it was rolled back to '1'"
    with pytest.raises(Refusal, match="no former version"):
        model.rollback()


def test_only_so_many_former_ones_are_kept():
    model = model_of(*"12345", keep=2)
    assert set(states(model)) == {"5", "4", "3"}
    assert model.rollback() == "4"
    assert model.rollback() == "3"
    none = model_of("1", "2", keep=0)
    assert set(states(none)) == {"2"}
    with pytest.raises(Refusal, match="no former version"):
        none.rollback()


def test_what_is_let_go_of_goes_on_answering_what_it_began_and_is_gone_with_that():
    model = model_of("1", keep=0)
    began = model.route(request())
    gone = weakref.ref(began.scorer)
    model.add("2", Version(version="2"))
    model.promote("2")
    assert states(model) == {"2": State.READY, "1": State.UNAVAILABLE}
    assert "still being answered" in reason(model, "1")
    with pytest.raises(Refusal):
        answers_as(model, "1")
    assert answer_of(began, request()).stamp.version == "1"
    del began
    assert gone() is not None
    model.mind()
    assert gone() is None
    assert set(states(model)) == {"2"}


def test_a_trial_takes_a_share_of_users_and_ends_by_promotion_or_without():
    model = model_of("1")
    model.add("2", Version(version="2"))
    trial = model.edition("2")
    model.try_on("2", 0.25)
    found = [answers_as(model, user=user) for user in range(2000)]
    assert 0.2 < found.count("2") / 2000 < 0.3
    assert found == [answers_as(model, user=user) for user in range(2000)]
    assert answers_as(model, "1", user=found.index("2")) == "1"
    assert trial.running
    model.end_trial()
    assert {answers_as(model, user=user) for user in range(2000)} == {"1"}
    assert not trial.running
    assert set(states(model)) <= {"1", "2"}

    model.add("3", Version(version="3"))
    model.try_on("3", 0.5)
    model.promote("3")
    assert {answers_as(model, user=user) for user in range(200)} == {"3"}
    assert model.edition("3").running
    assert model.rollback() == "1"


def test_another_trial_takes_the_place_of_the_first():
    model = model_of("1")
    for version in "23":
        model.add(version, Version(version=version))
        model.try_on(version, 1.0)
    assert answers_as(model) == "3"
    assert states(model).get("2") is not State.READY
    with pytest.raises(ConfigError, match="answers everybody already"):
        model.try_on("1", 0.5)


def test_a_rollback_ends_a_trial_too():
    model = model_of("1", "2")
    model.add("3", Version(version="3"))
    model.try_on("3", 1.0)
    assert model.rollback() == "1"
    assert answers_as(model) == "1"
    assert states(model).get("3") is not State.READY


def test_a_shadow_is_shown_what_was_answered_and_may_be_begun_again():
    model = model_of("1")
    model.add("2", Version(version="2", slope=0.2))
    assert model.shadow_report is None
    model.shadow("2", 1.0)
    asked = request()
    model.answered(asked, answer_of(model.route(asked), asked))
    report = wait_for(model, 1)
    assert report.version == "2"
    assert report.tasks["is_click"].most > 0
    assert report.tasks["play_ms"].most == 0
    model.shadow("2", 1.0)
    assert model.shadow_report.requests == 0
    assert model.edition("2").running
    assert model.end_shadow().version == "2"
    assert model.end_shadow() is None
    assert set(states(model)) <= {"1", "2"}


def wait_for(model, requests):
    over = threading.Event()
    for _ in range(2000):
        report = model.shadow_report
        if report.requests >= requests:
            return report
        over.wait(0.01)
    raise AssertionError("the shadow did not score it")


def test_a_shadow_that_is_promoted_ends():
    model = model_of("1")
    model.add("2", Version(version="2"))
    model.shadow("2", 1.0)
    model.promote("2")
    assert model.shadow_report is None
    assert model.edition("2").running


def test_only_what_nobody_is_sent_to_is_dropped():
    model = model_of("1", "2")
    model.add("3", Version(version="3"))
    model.drop("3")
    with pytest.raises(ConfigError, match="in use"):
        model.drop("2")
    model.drop("1")
    with pytest.raises(Refusal, match="no former version"):
        model.rollback()
    with pytest.raises(Refusal, match="no version '1'"):
        model.drop("1")


def test_a_version_that_does_not_stop_cleanly_leaves_all_the_same(caplog):
    class Stuck(Version):
        def stop(self):
            raise OSError("no space left")

    model = Model("feed", keep=0)
    model.add("1", Stuck())
    model.promote("1")
    model.add("2", Version(version="2"))
    model.promote("2")
    assert answers_as(model) == "2"
    assert "did not stop cleanly" in caplog.text


def test_whoever_asks_while_versions_are_swapped_is_always_answered():
    model = model_of("0")
    over, problems, seen = threading.Event(), [], set()

    def ask():
        number = 0
        while not over.is_set():
            number += 1
            try:
                seen.add(answers_as(model, user=number))
            except Exception as error:
                problems.append(error)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for each in asking:
        each.start()
    for number in range(1, 200):
        version = str(number)
        model.add(version, Version(version=version))
        if number % 3 == 0:
            model.try_on(version, 0.5)
        if number % 3 == 1:
            model.shadow(version, 0.5)
        model.promote(version)
        if number % 5 == 0:
            model.rollback()
    over.set()
    for each in asking:
        each.join()
    assert not problems
    assert len(seen) > 3


def at(version, rows):
    """A version that follows a history, at its state ``rows``."""
    made = Version(version=version)
    made.target.scorer.stamp = replace(made.target.scorer.stamp, history="h", rows=rows)
    return made


def test_one_that_follows_comes_up_to_the_rows_of_the_one_before_it():
    before, after = at("1", 10), at("2", 8)
    model = Model("feed")
    model.add("1", before)
    model.promote("1")
    model.add("2", after)
    promoting = threading.Thread(target=model.promote, args=("2",))
    promoting.start()
    for rows in (8, 9):
        after.target.scorer.stamp = replace(after.target.scorer.stamp, rows=rows)
        time.sleep(0.05)
        assert model.live == "1"
        assert model.status.live == "1"  # nobody waits for it
    before.target.scorer.stamp = replace(before.target.scorer.stamp, rows=11)
    after.target.scorer.stamp = replace(after.target.scorer.stamp, rows=11)
    promoting.join()
    assert model.live == "2"


@pytest.mark.parametrize("history", ["h", "another"])
def test_one_that_does_not_come_up_or_is_of_another_history_answers_all_the_same(history):
    before, after = at("1", 10), at("2", 3)
    after.target.scorer.stamp = replace(after.target.scorer.stamp, history=history)
    model = Model("feed")
    model.add("1", before)
    model.promote("1")
    model.add("2", after)
    began = time.monotonic()
    model.promote("2")
    assert model.live == "2"
    assert time.monotonic() - began < (5 if history == "h" else 0.5)
