import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.errors import ConfigError
from larix.train import Schedule


def test_without_settings_the_rate_is_full():
    assert [Schedule().scale(step, 10) for step in range(10)] == [1.0] * 10


def test_warm_up_rises_in_a_straight_line_and_starts_above_zero():
    assert [Schedule(warmup_steps=4).scale(step, 9) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_linear_decay_goes_down_to_the_floor():
    schedule = Schedule(warmup_steps=2, decay="linear", floor=0.5)
    assert [schedule.scale(step, 6) for step in range(2, 7)] == [1, 0.875, 0.75, 0.625, 0.5]


def test_cosine_decay_is_half_way_in_the_middle():
    schedule = Schedule(decay="cosine", floor=0.1)
    assert schedule.scale(0, 10) == 1.0
    assert schedule.scale(5, 10) == pytest.approx(0.55)
    assert schedule.scale(10, 10) == pytest.approx(0.1)


@given(
    st.integers(0, 50),
    st.integers(0, 30),
    st.integers(1, 40),
    st.floats(0, 1),
    st.sampled_from(["none", "linear", "cosine"]),
)
def test_the_multiplier_stays_between_zero_and_one(step, warmup, steps, floor, decay):
    scale = Schedule(warmup_steps=warmup, decay=decay, floor=floor).scale(step, steps)
    assert 0 <= scale <= 1
    if step >= warmup:
        assert scale >= floor - 1e-12


@pytest.mark.parametrize("wrong", [{"warmup_steps": -1}, {"decay": "exp"}, {"floor": 1.5}, {"floor": -0.1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"Schedule.{next(iter(wrong))}"):
        Schedule(**wrong)
