import json
import math

import pytest

from larix.embedding import SGD, Adagrad, Adam, Constant, Normal, RowAdagrad, TableSpec, Uniform
from larix.errors import ConfigError


@pytest.mark.parametrize("optimizer", [SGD(), Adagrad(initial=0.1), RowAdagrad(lr=1.0), Adam(beta1=0.5)])
@pytest.mark.parametrize("init", [Constant(value=2.0), Uniform(scale=0.5), Normal(std=0.1)])
def test_a_spec_survives_json(optimizer, init):
    spec = TableSpec(name="a/ä 1", dim=7, optimizer=optimizer, init=init)
    assert TableSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("optimizer", "width"), [(SGD(), 0), (Adagrad(), 5), (RowAdagrad(), 1), (Adam(), 11)]
)
def test_state_is_as_wide_as_the_optimizer_needs(optimizer, width):
    assert TableSpec(name="a", dim=5, optimizer=optimizer).state == width


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SGD(lr=0.0), "SGD.lr is 0.0"),
        (lambda: SGD(lr=math.nan), "SGD.lr is nan"),
        (lambda: Adagrad(eps=1e-40), "Adagrad.eps is 1e-40"),
        (lambda: RowAdagrad(initial=-1.0), "RowAdagrad.initial is -1.0"),
        (lambda: Adam(beta2=1.0), "Adam.beta2 is 1.0"),
        (lambda: Constant(value=math.inf), "Constant.value is inf"),
        (lambda: Uniform(scale=-1.0), "Uniform.scale is -1.0"),
        (lambda: Normal(std=0.0), "Normal.std is 0.0"),
        (lambda: TableSpec(name="", dim=1), "a table needs a name"),
        (lambda: TableSpec(name="a", dim=0), "table 'a' has dim 0"),
        (
            lambda: TableSpec.from_json(TableSpec(name="a", dim=1).to_json() | {"init": {"kind": "Odd"}}),
            "'Odd' is not one of",
        ),
        (
            lambda: TableSpec.from_json(
                TableSpec(name="a", dim=1).to_json() | {"init": {"kind": "Uniform", "size": 1}}
            ),
            r"Uniform has no \['size'\]",
        ),
    ],
)
def test_a_setting_out_of_range_is_named(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()
