import numpy as np
import pytest
import torch
from nets import Sketch, dense, experts, feed, ops_of, outputs

from larix.compile import Precision, Samples, capture, everywhere, ops, optimise
from larix.compile.graph import Ref
from larix.compile.lower import lower
from larix.compile.rules import hoist
from larix.errors import ConfigError


def chain():
    sketch = Sketch(dense(c=33))
    x = sketch(ops.RELU, sketch.linear(Ref("x"), 32))
    return sketch.graph(sketch("aten.sigmoid.default", sketch.linear(x, 2)))


def test_a_chain_of_bf16_products_is_cast_once_at_each_end_and_read_in_whole_tiles():
    graph = chain()
    low = lower(graph, everywhere(graph, "bf16"))
    assert ops_of(low) == ["_to_copy", "constant_pad_nd", "linear", "relu", "linear", "_to_copy", "sigmoid"]
    assert {weight.dtype for weight in low.weights.values()} == {torch.bfloat16}
    arrays = feed(graph)
    found = outputs(low, arrays, 5)["output.0"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, outputs(graph, arrays, 5)["output.0"], atol=0.05)


def test_what_is_not_chosen_stays_bit_for_bit():
    graph = chain()
    assert lower(graph, Precision()) is graph
    first, second = (node.name for node in graph.nodes if node.op == ops.LINEAR)
    low = lower(graph, Precision(units={second: "bf16"}))
    assert ops_of(low) == ["linear", "relu", "_to_copy", "linear", "_to_copy", "sigmoid"]
    assert first in {name.partition("~")[0] for name in (node.name for node in low.nodes)}


def test_a_value_per_request_is_cast_once_per_request():
    graph, _ = optimise(
        capture(experts(), {"x": torch.randn(4, 12)}, per_request={"x": [("u", 8, True), ("c", 4, False)]})
    )
    low = lower(graph, everywhere(graph, "bf16"))
    readers = [node for node in low.nodes if "x.request" in node.refs()]
    assert [(ops.stem(node.op), node.per_request) for node in readers] == [("_to_copy", True)]
    arrays = {name: each[:1] if graph.input(name).per_request else each for name, each in feed(graph).items()}
    np.testing.assert_allclose(
        outputs(low, arrays, 5)["output"], outputs(graph, arrays, 5)["output"], atol=0.05
    )


@pytest.mark.parametrize("given", ["u", "c"])
def test_what_is_given_joins_a_chain_in_bf16_and_does_not_end_it(given):
    """As what the user's half hands over does; ``u`` is one row for all, ``c`` a row for each."""
    sketch = Sketch(dense(c=32), dense("y", **{given: 32}))
    total = sketch(ops.ADD, sketch.linear(Ref("x"), 32), Ref("y"))
    graph, _ = hoist(sketch.graph(sketch.linear(sketch(ops.RELU, total), 2)))
    low = lower(graph, everywhere(graph, "bf16"))
    assert sorted(ops_of(low)) == sorted(["_to_copy"] * 3 + ["linear", "add", "relu", "linear"])
    assert [node.per_request for node in low.nodes if "y" in node.refs()] == [given == "u"]
    arrays = {name: each[:1] if graph.input(name).per_request else each for name, each in feed(graph).items()}
    expected = outputs(graph, arrays, 5)["output.0"]
    np.testing.assert_allclose(outputs(low, arrays, 5)["output.0"], expected, atol=0.3)


def test_int8_is_what_a_scale_and_whole_numbers_give():
    sketch = Sketch(dense(c=4))
    graph = sketch.graph(sketch.linear(Ref("x"), 2, bias=False))
    arrays = feed(graph, rows=50)
    low = lower(graph, everywhere(graph, "int8", Samples(arrays=arrays)))
    x, (weight,) = arrays["x"], graph.weights.values()
    weight = weight.numpy()
    step = (x.max() - x.min()) / 255
    zero = round(-x.min() / step)
    rounded = (np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    expected = rounded @ (np.rint(weight / scale) * scale).T
    np.testing.assert_allclose(outputs(low, arrays, 50)["output.0"], expected, atol=2e-2)
    assert np.abs(outputs(low, arrays, 50)["output.0"] - outputs(graph, arrays, 50)["output.0"]).max() > 1e-4


def test_int8_reads_wide_columns_in_tiles_that_are_asked_for_quantized_once_for_all_that_read_them_alike():
    sketch = Sketch(dense(c=300), dense("y", c=100))
    first, second = sketch.linear(Ref("x"), 8), sketch.linear(Ref("x"), 6)
    graph = sketch.graph(first, second, sketch.linear(Ref("y"), 2))
    arrays = feed(graph, rows=50)
    precision = everywhere(graph, "int8", Samples(arrays=arrays))
    assert "constant_pad_nd" not in ops_of(lower(graph, precision))
    low = lower(graph, precision, int8_tile=64)
    assert ops_of(low).count("constant_pad_nd") == 1  # of x; y is narrow
    assert ops_of(low).count("fake_quantize_per_tensor_affine") == 2
    channels = [node for node in low.nodes if "per_channel" in node.op]
    widths = {low.weights[node.args[0].name].shape[1] for node in channels}
    assert widths == {320, 100}
    for name, value in outputs(graph, arrays, 50).items():
        np.testing.assert_allclose(outputs(low, arrays, 50)[name], value, atol=1.0)


def test_one_row_in_int8_is_not_filled_up():
    sketch = Sketch(dense(u=300, c=1))
    graph, _ = hoist(sketch.graph(sketch.linear(Ref("x"), 8)))
    low = lower(graph, everywhere(graph, "int8", Samples(arrays=feed(graph))), int8_tile=64)
    assert "fake_quantize_per_tensor_affine" in ops_of(low)
    assert "constant_pad_nd" not in ops_of(low)


def test_a_chain_scaled_by_a_column_stays_in_bf16():
    sketch = Sketch(dense(c=32), dense("y", c=1), dense("z", c=32))
    hidden = sketch.linear(Ref("x"), 32)
    column = sketch("aten.sigmoid.default", Ref("y"))
    wide = sketch("aten.sigmoid.default", Ref("z"))
    for scale, casts in ((column, 3), (wide, 4)):
        graph = sketch.graph(sketch.linear(sketch(ops.MUL, hidden, scale), 2))
        low = lower(graph, everywhere(graph, "bf16"))
        assert ops_of(low).count("_to_copy") == casts
        arrays = feed(graph)
        expected = outputs(graph, arrays, 5)["output.0"]
        np.testing.assert_allclose(outputs(low, arrays, 5)["output.0"], expected, atol=0.3)


def test_a_precision_of_another_graph_is_refused():
    with pytest.raises(ConfigError, match=r"the precision names \['nobody'\]"):
        lower(chain(), Precision(units={"nobody": "bf16"}))
