import math

import pytest

from larix.embedding import Constant, Normal, Uniform
from larix.errors import ConfigError


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Constant(value=math.inf), "Constant.value is inf"),
        (lambda: Constant(value=math.nan), "Constant.value is nan"),
        (lambda: Uniform(scale=-1.0), "Uniform.scale is -1.0"),
        (lambda: Normal(std=0.0), "Normal.std is 0.0"),
    ],
)
def test_a_setting_out_of_range_is_named(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()
