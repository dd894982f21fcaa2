import os

import pytest

from larix.errors import ConfigError
from larix.serve.models.plan import FILE, Part, Plan, PlanFile, read


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
