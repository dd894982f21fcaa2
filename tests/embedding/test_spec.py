import json

import pytest

from larix.embedding import (
    FTRL,
    LAMB,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Constant,
    CosineDecay,
    Momentum,
    Normal,
    RowAdagrad,
    TableSpec,
    Uniform,
    Warmup,
)
from larix.errors import ConfigError


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(weight_decay=0.1),
        Momentum(nesterov=True, clip_grad=3.0),
        Adagrad(initial=0.1, max_norm=1.0),
        RowAdagrad(lr=1.0, schedule=Warmup(steps=10, then=CosineDecay(steps=99))),
        Adam(beta1=0.5),
        AdamW(schedule=CosineDecay(steps=5, floor=0.5)),
        FTRL(l1=0.5, schedule=Warmup(steps=10)),
        LAMB(weight_decay=0.0),
    ],
)
@pytest.mark.parametrize("init", [Constant(value=2.0), Uniform(scale=0.5), Normal(std=0.1)])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_spec_survives_json(optimizer, init, precision):
    spec = TableSpec(name="a/ä 1", dim=7, optimizer=optimizer, init=init, precision=precision)
    assert TableSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_spec_written_before_there_were_schedules_precisions_and_clips_is_read():
    """The JSON of larix 0.1, letter by letter."""
    text = """{"name": "a", "dim": 3, "init": {"kind": "Normal", "std": 0.5},
        "optimizer": {"kind": "Adam", "lr": 0.25, "beta1": 0.5, "beta2": 0.75, "eps": 1e-06}}"""
    adam = Adam(lr=0.25, beta1=0.5, beta2=0.75, eps=1e-6)
    expected = TableSpec(name="a", dim=3, optimizer=adam, init=Normal(std=0.5))
    assert TableSpec.from_json(json.loads(text)) == expected


@pytest.mark.parametrize(("precision", "size"), [("fp32", 7 * 4), ("bf16", 8 * 2), ("fp16", 8 * 2)])
def test_a_rows_bytes_are_its_weights_padded_to_four_bytes_and_its_state(precision, size):
    assert TableSpec(name="a", dim=7, optimizer=RowAdagrad(), precision=precision).row_bytes == size + 4


PLAIN = TableSpec(name="a", dim=1).to_json()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TableSpec(name="", dim=1), "a table needs a name"),
        (lambda: TableSpec(name=7, dim=1), "a table is named 7; a name is a text"),
        (lambda: TableSpec(name="a\ud800", dim=1), "that UTF-8 can hold"),
        (lambda: TableSpec(name="a", dim=0), "table 'a' has dim 0"),
        (lambda: TableSpec(name="a", dim=2.5), "dim 2.5; it must be a whole number"),
        (lambda: TableSpec(name="a", dim="3"), "dim '3'; it must be a whole number"),
        (
            lambda: TableSpec(name="a", dim=1, precision="int8"),
            r"table 'a' has precision 'int8'; it must be one of \['fp32', 'bf16', 'fp16'\]",
        ),
        (lambda: TableSpec.from_json(PLAIN | {"init": {"kind": "Odd"}}), "'Odd' is not one of"),
        (
            lambda: TableSpec.from_json(PLAIN | {"init": {"kind": "Uniform", "size": 1}}),
            r"Uniform has no \['size'\]",
        ),
        (
            lambda: TableSpec.from_json(PLAIN | {"optimizer": {"kind": "SGD", "schedule": {"kind": "Odd"}}}),
            r"'Odd' is not one of \['Warmup', ",
        ),
    ],
)
def test_a_setting_out_of_range_is_named(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()
