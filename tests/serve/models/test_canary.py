import math
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.errors import ConfigError
from larix.serve.models.canary import Canary

USERS = range(20_000)


def canary(share, model="feed", salt="", version="2"):
    return Canary(model=model, version=version, share=share, salt=salt)


def taken(given, users=USERS):
    return {user for user in users if given.takes(user)}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_it_takes_about_its_share_of_users_whose_numbers_follow_each_other(share):
    spread = 5 * math.sqrt(share * (1 - share) / len(USERS))
    assert len(taken(canary(share))) / len(USERS) == pytest.approx(share, abs=spread)


@given(user=st.integers(-(2**63), 2**63 - 1), small=st.floats(0, 1), large=st.floats(0, 1))
def test_whoever_is_in_stays_in_as_the_share_grows(user, small, large):
    small, large = sorted([small, large])
    assert canary(small).takes(user) <= canary(large).takes(user)


@given(user=st.integers(-(2**63), 2**63 - 1))
def test_nobody_is_in_none_and_everybody_in_all(user):
    assert not canary(0.0).takes(user)
    assert canary(1.0).takes(user)


def test_who_is_in_does_not_depend_on_the_version():
    assert taken(canary(0.2)) == taken(canary(0.2, version="3"))


@pytest.mark.parametrize("other", [{"model": "search"}, {"salt": "x"}, {"model": "fee", "salt": "d"}])
def test_another_model_or_salt_draws_on_its_own(other):
    both = taken(canary(0.3)) & taken(canary(0.3, **other))
    assert len(both) / len(USERS) == pytest.approx(0.09, abs=0.015)


def test_another_process_draws_the_same_users():
    code = (
        "from larix.serve.models.canary import Canary\n"
        "each = Canary(model='feed', version='2', share=0.1)\n"
        "print(*[user for user in range(500) if each.takes(user)])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {int(user) for user in found.stdout.split()} == taken(canary(0.1), range(500))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        canary(share)
