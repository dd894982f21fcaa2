"""Small nets and random graphs for the tests of compile, and what it means that two graphs are equal."""

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

from larix.compile import ops
from larix.compile.feeds import numpy_dtype, parts_of
from larix.compile.graph import Column, Graph, Input, Node, Ref, Rows
from larix.compile.run import run
from larix.compile.writer import Writer


def feed(graph, rows=5, seed=0, requests=1):
    """Whole arrays for a captured graph: what is per request is alike in all rows, if there is one request."""
    rng = np.random.default_rng(seed)
    found = {}
    for each in graph.inputs:
        shape = [rows if isinstance(size, Rows) else size for size in each.shape]
        values = rng.standard_normal(shape)
        array = (values > 0 if each.dtype == torch.bool else values).astype(numpy_dtype(each.dtype))
        at = 0
        for column in each.columns:
            if column.per_request and requests == 1:
                array[..., at : at + column.width] = array[:1, ..., at : at + column.width]
            at += column.width
        found[each.name] = array
    return found


def outputs(graph, arrays, rows, requests=1):
    tensors = {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in arrays.items()}
    return {name: each.numpy() for name, each in run(graph, tensors, rows, requests).items()}


def assert_equal(before, after, rows=5, seed=0, tolerance=1e-5):
    """Both graphs give the same, for candidates of one request and for rows that are a request each."""
    for requests in (1, rows):
        whole = feed(before, rows, seed, requests)
        expected = outputs(before, whole, rows)
        found = outputs(after, parts_of(before.inputs, after, whole, each=requests > 1), rows, requests)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance)


def ops_of(graph):
    return [ops.stem(node.op) for node in graph.nodes]


class Sketch:
    """A graph written by hand in a test."""

    def __init__(self, *inputs):
        self.writer = Writer(Graph(inputs, (), ()))
        self.number = 0

    def __call__(self, op, *args, kwargs=()):
        self.number += 1
        return self.writer.put(Node(f"n{self.number}", op, args, kwargs, f"line {self.number}"))

    def weight(self, *shape, seed=0):
        draw = torch.Generator().manual_seed(seed + self.number)
        return self.writer.weight("w", torch.randn(*shape, generator=draw) / 2)

    def linear(self, x, out, bias=True, seed=0):
        width = self.writer.shape(x)[-1]
        return self(
            ops.LINEAR, x, self.weight(out, width, seed=seed), self.weight(out, seed=seed) if bias else None
        )

    def graph(self, *refs):
        return self.writer.finish(tuple((f"output.{i}", ref.name) for i, ref in enumerate(refs)))


def dense(name="x", **columns):
    """An input ``[n, sum of widths]``; a column's name that begins with u is the user's."""
    parts = tuple(Column(key, width, key.startswith("u")) for key, width in columns.items())
    return Input(name, (Rows(1), sum(columns.values())), torch.float32, parts)


@st.composite
def graphs(draw):
    """A random graph of some operations over mixed columns and a sequence that may be per request."""
    widths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    levels = draw(st.lists(st.booleans(), min_size=len(widths), max_size=len(widths)))
    columns = {
        f"{'u' if level else 'c'}{i}": width
        for i, (width, level) in enumerate(zip(widths, levels, strict=True))
    }
    sequence = Input("s", (Rows(1), 3, 4), torch.float32, (Column("s", 4, draw(st.booleans())),))
    mask = Input("m", (Rows(1), 3), torch.bool, (Column("m", 3, sequence.columns[0].per_request),))
    sketch = Sketch(dense(**columns), sequence, mask)
    flat, deep = [Ref("x")], [Ref("s")]
    for _ in range(draw(st.integers(2, 9))):
        x = draw(st.sampled_from(flat))
        width = sketch.writer.shape(x)[1]
        match draw(st.integers(0, 15)):
            case 0:
                flat.append(sketch.linear(x, draw(st.integers(1, 6)), draw(st.booleans())))
            case 1:
                flat.append(
                    sketch(draw(st.sampled_from([ops.RELU, "aten.sigmoid.default", "aten.clone.default"])), x)
                )
            case 2:
                flat.append(sketch(ops.CAT, (x, draw(st.sampled_from(flat))), draw(st.sampled_from([1, -1]))))
            case 3:
                start = draw(st.integers(0, width - 1))
                flat.append(
                    sketch(ops.SLICE, x, 1, start, draw(st.sampled_from([width, 2**63 - 1, start + 1])))
                )
            case 4:
                flat.append(
                    sketch(
                        draw(st.sampled_from([ops.ADD, ops.MUL])),
                        x,
                        sketch.linear(draw(st.sampled_from(flat)), width),
                    )
                )
            case 5:
                flat.append(sketch(draw(st.sampled_from([ops.ADD, ops.MUL])), x, sketch.weight(width)))
            case 6:
                pair = (sketch.weight(width), sketch.weight(width)) if draw(st.booleans()) else ()
                flat.append(sketch(ops.LAYER_NORM, x, (width,), *pair))
            case 7:
                flat.append(sketch("aten.softmax.int", x, draw(st.sampled_from([1, -1]))))
            case 8:
                flat.append(sketch("aten.sum.dim_IntList", x, (1,), True))
            case 9:
                gate = sketch(ops.SLICE, x, 1, 0, 1)
                flat.append(sketch(ops.MUL, draw(st.sampled_from(flat)), gate))
            case 10:
                seen = sketch("aten.bitwise_not.default", sketch(ops.UNSQUEEZE, Ref("m"), -1))
                deep.append(sketch("aten.masked_fill.Scalar", draw(st.sampled_from(deep)), seen, 0.0))
            case 11:
                deep.append(sketch.linear(draw(st.sampled_from(deep)), 4))
            case 12:
                flat.append(sketch("aten.sum.dim_IntList", draw(st.sampled_from(deep)), (1,)))
            case 13:
                query = sketch.linear(x, 4)
                flat.append(sketch(ops.EINSUM, "bd,bld->bl", (query, draw(st.sampled_from(deep)))))
            case 14:
                turned = sketch(
                    ops.PERMUTE, draw(st.sampled_from(deep)), draw(st.sampled_from([(0, 2, 1), (0, -1, 1)]))
                )
                shifted = sketch(draw(st.sampled_from([ops.ADD, ops.MUL])), turned, sketch.weight(1, 4, 3))
                deep.append(
                    sketch(
                        ops.PERMUTE, sketch(ops.SOFTMAX, shifted, draw(st.sampled_from([1, -1]))), (0, 2, 1)
                    )
                )
            case 15:
                heads = sketch(ops.RESHAPE, sketch.linear(x, 8), (Rows(1), 2, 4))
                scores = sketch(ops.EINSUM, "bhd,bld->bhl", (heads, draw(st.sampled_from(deep))))
                weights = sketch(ops.SOFTMAX, scores, draw(st.sampled_from([1, 2, -1])))
                found = sketch(ops.EINSUM, "bhl,bld->bhd", (weights, draw(st.sampled_from(deep))))
                flat.append(sketch(ops.RESHAPE, found, (Rows(1), 8)))
    return sketch.graph(flat[-1], sketch(ops.CAT, tuple(flat[-2:]), 1))


class Experts(nn.Module):
    """Two experts and a gate for each of two tasks, with a norm and dropout."""

    def __init__(self, features=12, width=8):
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(features, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2))
            for _ in range(2)
        )
        self.gate = nn.Linear(features, 4)
        self.out = nn.Linear(width, 1)

    def forward(self, x):
        hidden = torch.stack([expert(x) for expert in self.experts], dim=1)
        gates = torch.softmax(self.gate(x).unflatten(1, (2, 2)), dim=2)
        return self.out(torch.bmm(gates, hidden)).squeeze(2)


def experts():
    torch.manual_seed(0)
    net = Experts()
    for norm in (each for each in net.modules() if isinstance(each, nn.BatchNorm1d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return net.eval()
