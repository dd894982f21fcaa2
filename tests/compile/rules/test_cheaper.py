import pytest
import torch
from nets import Sketch, assert_equal, dense, ops_of

from larix.compile import ops
from larix.compile.graph import Column, Input, Ref, Rows
from larix.compile.rules import cheaper

X, MASK = Ref("x"), Ref("m")


def sketch():
    mask = Input("m", (Rows(1), 6), torch.bool, (Column("m", 6, False),))
    return Sketch(dense(c=6), mask)


CASES = {
    "same dtype": (lambda s: s(ops.TO_COPY, X, kwargs=(("dtype", torch.float32),)), []),
    "same shape, slice": (lambda s: s(ops.SLICE, X, 1, 0, 2**63 - 1), []),
    "same shape, reshape": (lambda s: s(ops.RESHAPE, X, (-1, 6)), []),
    "same shape, cat": (lambda s: s(ops.CAT, (X,), 1), []),
    "twice, relu": (lambda s: s(ops.RELU, s(ops.RELU, X)), ["relu"]),
    "twice, masked": (
        lambda s: s("aten.masked_fill.Scalar", s("aten.masked_fill.Scalar", X, MASK, 0.0), MASK, 0.0),
        ["masked_fill"],
    ),
    "twice, not": (lambda s: s("aten.bitwise_not.default", s("aten.bitwise_not.default", MASK)), []),
    "neutral, 0": (lambda s: s(ops.ADD, X, 0), []),
    "neutral, 1": (lambda s: s("aten.div.Tensor", s(ops.MUL, X, 1.0), 1), []),
    "slice of cat": (lambda s: s(ops.SLICE, s(ops.CAT, (s(ops.RELU, X), X), 1), 1, 6, 12), []),
    "slice of cat, two parts": (
        lambda s: s(ops.SLICE, s(ops.CAT, (s(ops.RELU, X), X, X), 1), 1, 6, 18),
        ["cat"],
    ),
    "slice of cat, to its end": (lambda s: s(ops.SLICE, s(ops.CAT, (s(ops.RELU, X), X), 1), 1, 6), []),
    "slice of slice, to its end": (lambda s: s(ops.SLICE, s(ops.SLICE, X, 1, 1), 1, 2), ["slice"]),
    "slice of slice": (lambda s: s(ops.SLICE, s(ops.SLICE, X, 1, 1, 6), 1, 1, -1), ["slice"]),
    "select of stack": (
        lambda s: s(ops.SELECT, s(ops.STACK, (s("aten.neg.default", X), X), 1), 1, 0),
        ["neg"],
    ),
    "select of stack, the last": (
        lambda s: s(ops.SELECT, s(ops.STACK, (X, s(ops.RELU, X)), -1), 2, -1),
        ["relu"],
    ),
    "picked in a row": (
        lambda s: s(ops.INDEX, X, (None, s.writer.weight("i", torch.arange(2, 5)))),
        ["slice"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_equivalent_is_put_in_place_and_gives_the_same_bits(case):
    make, expected = CASES[case]
    s = sketch()
    graph = s.graph(make(s))
    after, notes = cheaper(graph)
    assert ops_of(after) == expected
    assert notes[0].startswith(case.partition(",")[0])
    assert_equal(graph, after, tolerance=0)


DIFFERENT = {
    "another dtype": lambda s: s(ops.TO_COPY, X, kwargs=(("dtype", torch.float64),)),
    "part of a slice": lambda s: s(ops.SLICE, X, 1, 0, 5),
    "a slice with steps": lambda s: s(ops.SLICE, X, 1, 0, 6, 2),
    "masks that differ": lambda s: s(
        "aten.masked_fill.Scalar", s("aten.masked_fill.Scalar", X, MASK, 0.0), MASK, 1.0
    ),
    "masked twice by different masks": lambda s: s(
        "aten.masked_fill.Scalar",
        s("aten.masked_fill.Scalar", X, MASK, 0.0),
        s("aten.bitwise_not.default", MASK),
        0.0,
    ),
    "another number": lambda s: s(ops.MUL, X, 2.0),
    "within a part of a cat": lambda s: s(ops.SLICE, s(ops.CAT, (X, X), 1), 1, 3, 9),
    "a slice of another axis": lambda s: s(ops.SLICE, s(ops.SLICE, s(ops.UNSQUEEZE, X, 2), 1, 1, 3), 2, 0, 1),
    "selected along another axis than stacked": lambda s: s(
        ops.SELECT, s(ops.STACK, (X, s(ops.RELU, X)), 1), 2, 1
    ),
    "picked out of order": lambda s: s(ops.INDEX, X, (None, s.writer.weight("i", torch.tensor([2, 1])))),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_only_looks_alike_gives_the_same_after_the_rule(case):
    s = sketch()
    graph = s.graph(DIFFERENT[case](s))
    assert_equal(graph, cheaper(graph)[0], tolerance=0)
