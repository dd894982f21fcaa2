import os
import time

import pyarrow as pa
import pytest
from editions import Bundles, Version, answer_of, request, write

from larix.errors import ConfigError
from larix.serve.models.plan import FILE, Part, Plan, PlanFile, read
from larix.serve.models.repository import Repository
from larix.serve.refusal import Refusal
from larix.serve.service import State
from larix.serve.signature import Signature


def test_a_plan_is_read_and_may_leave_anything_out():
    assert read("{}") == Plan()
    whole = '{"live": "a", "trial": {"version": "b", "share": 0.05, "salt": "x"}, "shadow": {"version": "c", "share": 1}}'
    plan = read(whole)
    assert plan == Plan(
        live="a", trial=Part(version="b", share=0.05, salt="x"), shadow=Part(version="c", share=1)
    )
    assert plan.tried_out == {"b", "c"}
    assert read('{"trial": null}').tried_out == set()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no JSON"),
        ("[]", "expected an object"),
        ("[" * 100_000, "is no JSON"),
        ('{"live": 3}', "'live' is 3"),
        ('{"lives": "a"}', "unknown keys \\['lives'\\]"),
        ('{"trial": "b"}', "'trial' is 'b'; expected an object"),
        ('{"trial": {"version": "b"}}', "not told whole"),
        ('{"trial": {"version": "b", "share": 2}}', "a share of 2; give 0 to 1"),
        ('{"trial": {"version": "b", "share": NaN}}', "a share of nan"),
        ('{"trial": {"version": "b", "share": true}}', "but got 'b', True"),
        ('{"trial": {"version": "b", "share": "1"}}', "but got 'b', '1'"),
        ('{"trial": {"version": 7, "share": 1}}', "but got 7"),
        ('{"shadow": {"version": "b", "share": 1, "salt": "x"}}', "unknown keys \\['salt'\\]"),
    ],
)
def test_what_is_no_plan_is_told(text, said):
    with pytest.raises(ConfigError, match=said):
        read(text)


def test_a_file_that_is_damaged_leaves_the_plan_as_it_was_and_says_why(tmp_path):
    file = PlanFile(tmp_path)
    assert file.look() == (Plan(), "")
    (tmp_path / FILE).write_text('{"live": "a"}')
    assert file.look() == (Plan(live="a"), "")
    for damaged in (b"{", b"\xff", b'{"live": 1}'):
        (tmp_path / FILE).write_bytes(damaged)
        plan, trouble = file.look()
        assert plan == Plan(live="a")
        assert FILE in trouble
        assert file.look() == (plan, trouble)
    (tmp_path / FILE).write_text('{"live": "b"}')
    assert file.look() == (Plan(live="b"), "")
    (tmp_path / FILE).unlink()
    assert file.look() == (Plan(), "")
    os.mkdir(tmp_path / FILE)
    assert file.look()[0] == Plan()
    assert "cannot be read" in file.look()[1]


def test_a_file_that_is_damaged_from_the_start_is_no_plan(tmp_path):
    (tmp_path / FILE).write_text("{")
    plan, trouble = PlanFile(tmp_path).look()
    assert plan is None
    assert "is not followed" in trouble


# What a repository makes of the file.


@pytest.fixture
def place(tmp_path):
    (tmp_path / "feed").mkdir()
    return tmp_path / "feed"


def live(repository):
    return repository.route(request()).scorer.stamp.version


def states(repository):
    return {each.version: (each.state, each.reason) for each in repository.models()[0].versions}


def plan(place, text):
    (place / FILE).write_text(text)


@pytest.fixture
def three(place):
    """A repository of a1, a2 and a3, which answers, and its loader."""
    loader = Bundles()
    for number in (1, 2, 3):
        write(place / f"a{number}", number / 10)
    repository = Repository({"feed": place}, loader)
    repository.poll()
    assert live(repository) == "a3"
    return repository, loader


def test_the_file_of_versions_says_who_answers_though_others_are_newer(place, three):
    repository, loader = three
    plan(place, '{"live": "a1"}')
    repository.poll()
    assert live(repository) == "a1"
    write(place / "a4")
    for _ in range(3):
        repository.poll()
    assert live(repository) == "a1"
    assert loader.loaded == ["a3", "a1"]  # nothing else is loaded, and nothing twice
    plan(place, '{"live": "a3"}')
    repository.poll()
    assert live(repository) == "a3"
    assert loader.loaded == ["a3", "a1"]  # it was kept
    (place / FILE).unlink()
    repository.poll()
    assert live(repository) == "a4"


def test_loading_by_hand_leaves_who_is_tried_out_as_they_are(place, three):
    repository, loader = three
    plan(
        place,
        '{"live": "a1", "trial": {"version": "a3", "share": 0.5}, "shadow": {"version": "a2", "share": 1}}',
    )
    repository.poll()
    repository.load("feed")
    assert live(repository) in ("a1", "a3")
    assert loader.loaded == ["a3", "a1", "a2"]
    assert (repository.model().trial.version, repository.model().in_shadow) == ("a3", ("a2", 1))


def test_who_is_gone_back_to_by_the_file_stays_so_after_a_restart(place, three):
    plan(place, '{"live": "a1"}')
    again = Repository({"feed": place}, Bundles())
    again.load("feed")
    assert live(again) == "a1"
    plan(place, "{")
    for _ in range(2):
        again.poll()
    assert live(again) == "a1"
    (_, reason), *_ = states(again).values()
    assert f"{FILE}' is not followed" in reason
    with pytest.raises(Refusal, match="is not followed"):
        Repository({"feed": place}, Bundles()).load("feed")  # rather than to answer by the newest


def test_a_version_is_tried_on_a_share_of_users_and_in_the_shadow_as_the_file_says(place, three):
    repository, loader = three
    model = repository.model()

    def share(version):
        asked = [repository.route(request(user)).scorer.stamp.version for user in range(400)]
        return asked.count(version) / len(asked)

    plan(
        place,
        '{"live": "a1", "trial": {"version": "a3", "share": 0.5}, "shadow": {"version": "a2", "share": 1}}',
    )
    for _ in range(3):
        repository.poll()
    assert loader.loaded == ["a3", "a1", "a2"]
    assert 0.4 < share("a3") < 0.6
    assert share("a1") + share("a3") == pytest.approx(1)
    asked = request()
    repository.answered(asked, answer_of(repository.route(asked), asked))
    until = time.monotonic() + 20
    while not model.shadow_report.requests and time.monotonic() < until:
        time.sleep(0.01)
    gauges = model.gauges
    assert gauges["a3"]["trial_share"] == 0.5
    assert gauges["a2"]["shadow_share"] == gauges["a2"]["shadow_requests_total"] == 1
    assert gauges["a2"]["shadow_is_click_absolute"] > 0
    assert "trial_share" not in gauges["a1"]

    kept = {user for user in range(400) if repository.route(request(user)).scorer.stamp.version == "a3"}
    plan(place, '{"live": "a1", "trial": {"version": "a3", "share": 0.8}}')
    repository.poll()
    assert model.in_shadow is None
    assert share("a3") > 0.7
    assert all(repository.route(request(user)).scorer.stamp.version == "a3" for user in kept)
    plan(place, '{"live": "a3"}')
    repository.poll()
    assert share("a3") == 1
    assert model.trial is None
    assert states(repository)["a3"] == (State.READY, "")


def test_a_new_bundle_that_is_on_trial_does_not_answer_everybody(place, three):
    repository, _ = three
    plan(place, '{"trial": {"version": "a4", "share": 0}}')
    repository.poll()
    assert f"{FILE} names 'a4', which is no bundle there" in states(repository)["a3"][1]
    write(place / "a4")
    repository.poll()
    assert live(repository) == "a3"
    assert states(repository) == {"a3": (State.READY, ""), "a4": (State.READY, "")}
    plan(place, "{}")
    repository.poll()
    assert live(repository) == "a4"


def test_what_cannot_be_tried_is_tried_once_and_again_when_the_file_changes(place, three, caplog):
    repository, _ = three
    (place / "a2" / "manifest.json").write_text("{")
    plan(place, '{"trial": {"version": "a2", "share": 0.5}, "shadow": {"version": "a9", "share": 1}}')
    for _ in range(3):
        repository.poll()
    assert live(repository) == "a3"
    assert len(caplog.records) == 1
    said = states(repository)
    assert said["a2"][0] is State.UNAVAILABLE
    assert "is damaged" in said["a3"][1]
    assert "'a9', which is no bundle" in said["a3"][1]
    plan(place, '{"trial": {"version": "a3", "share": 0.5}}')
    repository.poll()
    assert "answers everybody already" in states(repository)["a3"][1]
    plan(place, '{"live": "a1", "trial": {"version": "a3", "share": 0.5}}')
    repository.poll()
    assert live(repository) in ("a1", "a3")
    assert repository.model().trial.version == "a3"
    assert states(repository)["a1"] == (State.READY, "")


def test_a_version_that_takes_other_requests_is_not_tried_on_and_not_kept_in_memory(place, three):
    repository, loader = three
    context = pa.schema({"user_id": pa.int64()})
    signatures = [
        Signature(context=context, candidates=pa.schema({"item": dtype}), item="item")
        for dtype in (pa.int64(), pa.string())
    ]
    repository.model().edition().columns = signatures[0]
    loader.columns = signatures[1]
    plan(place, '{"trial": {"version": "a2", "share": 0.5}}')
    repository.poll()
    assert "takes other requests than 'a3'" in states(repository)["a3"][1]
    assert repository.model().versions == ("a3",)
    loader.columns = Signature(context=context, candidates=pa.schema({"item": pa.int64()}), item="item")
    plan(place, '{"trial": {"version": "a2", "share": 0.25}}')
    repository.poll()
    assert repository.model().trial.version == "a2"


def test_without_a_file_what_was_done_by_hand_stays(place, three):
    repository, _ = three
    model = repository.model()
    model.add("mine", Version(version="mine"))
    model.try_on("mine", 0.5)
    model.add("dark", Version(version="dark"))
    model.shadow("dark", 1.0)
    for _ in range(2):
        repository.poll()
    assert model.trial.version == "mine"
    assert model.in_shadow == ("dark", 1.0)
    model.end_shadow()
