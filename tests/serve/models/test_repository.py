import os
import shutil
import threading
import time

import pytest
from editions import Bundles, Version, answer_of, request, write

from larix.errors import ConfigError
from larix.serve.models.repository import Repository, bundles
from larix.serve.refusal import Refusal, Why
from larix.serve.service import State


@pytest.fixture
def place(tmp_path):
    (tmp_path / "feed").mkdir()
    return tmp_path / "feed"


def live(repository, model=""):
    return repository.route(request(model=model)).scorer.stamp.version


def states(repository):
    return {each.version: (each.state, each.reason) for each in repository.models()[0].versions}


def test_the_newest_bundle_answers_and_numbers_count_by_value(place):
    for number in (9, 10, 2):
        write(place / f"step-{number}")
    repository = Repository({"feed": place}, Bundles())
    assert not repository.ready
    repository.poll()
    assert repository.ready
    assert live(repository) == "step-10"
    assert states(repository) == {"step-10": (State.READY, "")}


def test_a_new_bundle_takes_over_and_the_one_before_is_gone_back_to(place):
    bundles, repository = Bundles(), None
    write(place / "a1")
    repository = Repository({"feed": place}, bundles)
    repository.poll()
    write(place / "a2", 0.2)
    repository.poll()
    assert live(repository) == "a2"
    assert repository.model().rollback() == "a1"
    for _ in range(3):
        repository.poll()
    assert live(repository) == "a1"  # who went back from a version is not sent to it again
    assert bundles.loaded == ["a1", "a2"]
    write(place / "a3", 0.3)
    repository.poll()
    assert live(repository) == "a3"


def test_a_place_may_be_one_bundle_that_others_take_the_place_of(tmp_path):
    write(tmp_path / "feed", 0.1)
    repository = Repository({"feed": tmp_path / "feed"}, Bundles())
    repository.poll()
    repository.poll()
    assert live(repository) == "feed"
    write(tmp_path / "feed", 0.2)
    repository.poll()
    assert live(repository).startswith("feed-")
    assert repository.route(request()).scorer.slope == 0.2
    assert repository.route(request(version="feed")).scorer.slope == 0.1
    for slope in (0.1, 0.2, 0.1, 0.2):  # put back again and again
        write(tmp_path / "feed", slope)
        repository.poll()
        assert repository.route(request()).scorer.slope == slope


def test_a_damaged_bundle_changes_nothing_and_is_told_of_until_it_is_whole(place):
    write(place / "a1")
    repository = Repository({"feed": place}, Bundles())
    repository.poll()
    write(place / "a2")
    (place / "a2" / "manifest.json").write_text("{")
    repository.poll()
    repository.poll()
    assert live(repository) == "a1"
    state, reason = states(repository)["a2"]
    assert state is State.UNAVAILABLE
    assert str(place / "a2" / "manifest.json") in reason
    shutil.rmtree(place / "a2")
    write(place / "a2")
    repository.poll()
    assert live(repository).startswith("a2")


def test_at_the_start_a_damaged_newest_bundle_leaves_the_one_before(place):
    write(place / "a1")
    write(place / "a2")
    (place / "a3").mkdir()
    (place / "a3" / "manifest.json").write_text("nothing")
    repository = Repository({"feed": place}, Bundles())
    repository.poll()
    assert live(repository) == "a2"
    assert states(repository)["a3"][0] is State.UNAVAILABLE
    repository.poll()
    assert live(repository) == "a2"


def test_of_several_new_ones_only_the_newest_is_loaded(place):
    write(place / "a1")
    loader = Bundles()
    repository = Repository({"feed": place}, loader)
    repository.poll()
    for number in (2, 3, 4):
        write(place / f"a{number}")
    repository.poll()
    repository.poll()
    assert loader.loaded == ["a1", "a4"]


def test_what_is_half_written_or_no_bundle_is_not_looked_at(place):
    (place / ".a9.new").mkdir()
    (place / ".a9.new" / "manifest.json").write_text("{}")
    (place / "notes.txt").write_text("x")
    (place / "empty").mkdir()
    assert bundles(place) == []
    assert bundles(place / "nowhere") == []
    repository = Repository({"feed": place}, Bundles())
    repository.poll()
    with pytest.raises(Refusal) as refused:
        live(repository)
    assert refused.value.why is Why.UNAVAILABLE


def test_clocks_that_jump_change_nothing(place, monkeypatch):
    """Which bundle is new is told by names and digests: no file time and no wall clock is asked."""
    write(place / "a1")
    loader = Bundles()
    repository = Repository({"feed": place}, loader)
    repository.poll()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    write(place / "a0")
    os.utime(place / "a0" / "manifest.json", (4e9, 4e9))  # from the future, and older by name
    repository.poll()
    assert live(repository) == "a1"
    os.utime(place / "a1" / "manifest.json", (1, 1))
    repository.poll()
    assert loader.loaded == ["a1"]
    write(place / "a2")
    os.utime(place / "a2" / "manifest.json", (0, 0))
    repository.poll()
    assert live(repository) == "a2"


def test_several_models_each_have_their_place(tmp_path):
    write(tmp_path / "feed" / "f1")
    write(tmp_path / "ads" / "x1")
    repository = Repository({name: tmp_path / name for name in ("feed", "ads")}, Bundles())
    repository.poll()
    assert (live(repository, "feed"), live(repository, "ads")) == ("f1", "x1")
    assert [each.name for each in repository.models()] == ["ads", "feed"]
    assert repository.tasks("ads")[0].name == "is_click"
    with pytest.raises(Refusal, match=r"names no model; there are \['ads', 'feed'\]") as refused:
        live(repository)
    assert refused.value.why is Why.UNKNOWN
    with pytest.raises(Refusal, match="no model 'sea'"):
        live(repository, "sea")


def test_answers_go_to_the_shadow_of_the_model_that_they_are_of_though_a_sessions_request_names_none(
    tmp_path,
):
    write(tmp_path / "feed" / "f1")
    write(tmp_path / "ads" / "x1")
    repository = Repository({name: tmp_path / name for name in ("feed", "ads")}, Bundles())
    repository.poll()
    model = repository.model("feed")
    model.add("f2", Version(version="f2"))
    assert not repository.shadowed("feed")
    model.shadow("f2", 1.0)
    assert repository.shadowed("feed")
    assert not repository.shadowed("ads")
    answer = answer_of(repository.route(request(model="feed")), request())
    repository.answered(request(model="", session="s"), answer)
    until = time.monotonic() + 20
    while model.shadow_report.requests < 1:
        assert time.monotonic() < until
        time.sleep(0.01)
    model.end_shadow()


def test_unloaded_it_stays_so_until_it_is_loaded(place):
    write(place / "a1")
    repository = Repository({"feed": place}, Bundles())
    repository.poll()
    repository.unload("feed")
    repository.poll()
    with pytest.raises(Refusal, match="unloaded"):
        live(repository)
    assert repository.ready
    assert not repository.models()[0].ready
    repository.load("feed")
    assert live(repository) == "a1"
    for ask in (repository.load, repository.unload):
        with pytest.raises(Refusal, match="no model 'x'"):
            ask("x")


def test_loading_by_hand_tries_again_what_failed_and_says_why_it_does(place):
    write(place / "a1")
    repository = Repository({"feed": place}, Bundles())
    repository.load("feed")
    repository.load("feed")
    assert live(repository) == "a1"
    write(place / "a2")
    good = (place / "a2" / "manifest.json").read_text()
    (place / "a2" / "manifest.json").write_text("{")
    for _ in range(2):
        with pytest.raises(Refusal, match="damaged") as refused:
            repository.load("feed")
        assert refused.value.why is Why.UNAVAILABLE
        assert live(repository) == "a1"
    (place / "a2" / "manifest.json").write_text(good)
    repository.load("feed")
    assert live(repository) == "a2"
    repository.model().rollback()
    repository.load("feed")
    assert live(repository) == "a2"


def test_loading_what_is_not_there_says_so(place):
    repository = Repository({"feed": place}, Bundles())
    with pytest.raises(Refusal, match="there is no bundle in"):
        repository.load("feed")
    with pytest.raises(ConfigError, match="no model to serve"):
        Repository({}, Bundles())


def test_while_it_loads_the_live_version_answers_and_the_status_says_loading(place):
    write(place / "a1")
    loader = Bundles()
    repository = Repository({"feed": place}, loader)
    repository.poll()
    loader.gate = threading.Event()
    loader.begun.clear()
    write(place / "a2")
    repository.start(0.01)
    try:
        assert loader.begun.wait(20)
        assert live(repository) == "a1"
        assert states(repository)["a2"][0] is State.LOADING
        loader.gate.set()
        until = time.monotonic() + 20
        while live(repository) != "a2" and time.monotonic() < until:
            time.sleep(0.005)
        assert live(repository) == "a2"
    finally:
        loader.gate.set()
        repository.close()
    with pytest.raises(Refusal, match="unloaded"):
        live(repository)
