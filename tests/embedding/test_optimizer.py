import math

import numpy as np
import pytest

from larix.embedding import FTRL, LAMB, SGD, Adagrad, Adam, AdamW, Momentum, RowAdagrad, Warmup
from larix.embedding.optimizer import rate, state_width
from larix.errors import ConfigError

ALL = [SGD, Momentum, Adagrad, RowAdagrad, Adam, AdamW, FTRL, LAMB]


@pytest.mark.parametrize(("kind", "width"), list(zip(ALL, [0, 5, 5, 1, 11, 11, 10, 11], strict=True)))
def test_state_is_as_wide_as_the_optimizer_needs(kind, width):
    assert state_width(kind(), 5) == width


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": 0.0}, "lr is 0.0; it must be between 1e-30 and 1e"),
        ({"lr": math.nan}, "lr is nan"),
        ({"clip_grad": 0.0}, "clip_grad is 0.0"),
        ({"max_norm": math.inf}, "max_norm is inf"),
        ({"schedule": 0.5}, r"schedule is 0.5; it must be None or a schedule such as Warmup\(steps=1000\)"),
    ],
)
def test_a_setting_out_of_range_is_named_by_every_optimizer(kind, settings, sentence):
    with pytest.raises(ConfigError, match=f"{kind.__name__}.{sentence}"):
        kind(**settings)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Momentum(momentum=1.0), r"Momentum.momentum is 1.0; it must be in \[0, 1\)"),
        (lambda: Momentum(nesterov="yes"), r"Momentum.nesterov is 'yes'; it must be True or False"),
        (lambda: Adagrad(eps=1e-40), "Adagrad.eps is 1e-40"),
        (lambda: RowAdagrad(initial=-1.0), "RowAdagrad.initial is -1.0"),
        (lambda: Adam(beta2=1.0), "Adam.beta2 is 1.0"),
        (lambda: AdamW(weight_decay=-0.1), "AdamW.weight_decay is -0.1"),
        (lambda: FTRL(beta=0.0), "FTRL.beta is 0.0"),
        (lambda: FTRL(l1=-1.0), "FTRL.l1 is -1.0"),
        (lambda: FTRL(l2=math.nan), "FTRL.l2 is nan"),
        (lambda: LAMB(beta1=-0.1), "LAMB.beta1 is -0.1"),
    ],
)
def test_a_setting_of_its_own_out_of_range_is_named(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()


def test_the_rate_of_a_step_is_rounded_once():
    optimizer = SGD(lr=0.1, schedule=Warmup(steps=3))
    assert rate(optimizer, 0, 0.7) == np.float32(0.1 * (1 / 3) * 0.7)
    assert rate(optimizer, 5, 1.0) == np.float32(0.1)
    assert rate(SGD(lr=0.1), 5, 0.0) == 0
