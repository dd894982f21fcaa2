import pytest
import torch
from nets import experts, feed, ops_of, outputs
from torch import nn

from larix.compile import capture
from larix.compile.graph import Rows
from larix.errors import ConfigError


class Forward(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_a_captured_net_gives_what_the_net_gives_for_any_number_of_rows():
    net = experts()
    graph = capture(net, {"x": torch.randn(4, 12)})
    for rows in (1, 2, 9):
        arrays = feed(graph, rows)
        expected = net(torch.from_numpy(arrays["x"])).detach().numpy()
        torch.testing.assert_close(outputs(graph, arrays, rows)["output"], expected)


def test_the_module_is_left_in_training_and_captured_in_evaluation():
    net = experts().train()
    net.gate.eval()
    graph = capture(net, {"x": torch.randn(4, 12)})
    assert net.training
    assert net.experts[0][1].training
    assert not net.gate.training
    assert "_native_batch_norm_legit_no_training" in ops_of(graph)


def test_later_steps_of_the_module_do_not_reach_the_graph():
    net = experts()
    graph = capture(net, {"x": torch.randn(4, 12)})
    arrays = feed(graph)
    before = outputs(graph, arrays, 5)["output"].copy()
    with torch.no_grad():
        net.out.weight.add_(1)
    torch.testing.assert_close(outputs(graph, arrays, 5)["output"], before)


def test_sizes_that_count_rows_are_told_and_nodes_say_where_they_come_from():
    graph = capture(experts(), {"x": torch.randn(4, 12)})
    reshape = next(node for node in graph.nodes if node.op == "aten.reshape.default")
    assert reshape.args[1][0] == Rows(1)
    linear = next(node for node in graph.nodes if node.op == "aten.linear.default")
    assert linear.where.startswith("experts.0.0 (nets.py:")


def test_columns_are_declared_whole_or_each():
    net = experts()
    x = {"x": torch.randn(4, 12)}
    (one,) = capture(net, x, per_request={"x": True}).inputs[0].columns
    assert (one.width, one.per_request) == (12, True)
    columns = capture(net, x, per_request={"x": [("user", 8, True), ("item", 4, False)]}).inputs[0].columns
    assert [column.name for column in columns] == ["user", "item"]
    with pytest.raises(ConfigError, match="tells of 8 columns of input 'x', which has 12"):
        capture(net, x, per_request={"x": [("user", 8, True)]})
    with pytest.raises(ConfigError, match=r"per_request names \['y'\]"):
        capture(net, x, per_request={"y": True})


def test_outputs_are_named_by_what_is_returned():
    x = {"x": torch.randn(4, 2)}
    many = {
        "output": lambda x: x * 2,
        "output.0,output.1": lambda x: (x * 2, x * 3),
        "output.like,output.click": lambda x: {"like": x * 2, "click": x * 3},
    }
    for names, function in many.items():
        assert ",".join(name for name, _ in capture(Forward(function), x).outputs) == names


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: x - x.mean(dim=0), "depends on the other rows"),
        (lambda x: x.sum(dim=0), "depends on the other rows"),
        (lambda x: x * x.shape[0], "computes with the number of candidates"),
        (lambda x: x if x.sum() > 0 else -x, "cannot be captured"),
    ],
)
def test_a_net_that_padding_would_change_is_refused(function, match):
    with pytest.raises(ConfigError, match=match):
        capture(Forward(function), {"x": torch.randn(4, 3)})


@pytest.mark.parametrize("rows", [(1, 1), (3, 4)])
def test_examples_need_two_rows_or_more_and_as_many_each(rows):
    with pytest.raises(ConfigError, match="examples have"):
        capture(nn.Bilinear(2, 2, 1), {"input1": torch.randn(rows[0], 2), "input2": torch.randn(rows[1], 2)})
