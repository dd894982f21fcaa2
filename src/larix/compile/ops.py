"""What rules need to know of ATen operations: which are views, which work value by value, which keep rows apart.

An operation that is not named here is computed as it stands: nothing is assumed of it.
"""

from typing import Any

from larix.compile.graph import Node, Ref, Rows
from larix.compile.run import Shape

ADD = "aten.add.Tensor"
BMM = "aten.bmm.default"
CAT = "aten.cat.default"
EINSUM = "aten.einsum.default"
EXPAND = "aten.expand.default"
INDEX = "aten.index.Tensor"
LAYER_NORM = "aten.layer_norm.default"
LINEAR = "aten.linear.default"
MATMUL = "aten.matmul.default"
MUL = "aten.mul.Tensor"
PERMUTE = "aten.permute.default"
RELU = "aten.relu.default"
RESHAPE = "aten.reshape.default"
SELECT = "aten.select.int"
SLICE = "aten.slice.Tensor"
SOFTMAX = "aten.softmax.int"
STACK = "aten.stack.default"
TO_COPY = "aten._to_copy.default"
UNSQUEEZE = "aten.unsqueeze.default"

PRODUCTS = {LINEAR, BMM, MATMUL, EINSUM, "aten.addmm.default", "aten.mm.default", "aten.baddbmm.default"}

_VIEWS = {
    "reshape", "expand", "slice", "select", "unsqueeze", "squeeze", "permute", "transpose", "t", "alias",
    "detach", "unbind", "split", "split_with_sizes", "chunk", "flatten", "unflatten", "getitem",
}  # fmt: skip
_UNARY = {
    "relu", "sigmoid", "tanh", "gelu", "silu", "exp", "expm1", "log", "log1p", "neg", "abs", "sqrt", "rsqrt", "square",
    "bitwise_not", "logical_not", "logit", "clamp", "clamp_min", "clamp_max", "_to_copy", "clone", "elu", "leaky_relu",
    "hardtanh", "hardsigmoid", "hardswish", "softplus", "mish", "relu6", "isnan", "nan_to_num", "erf", "sin", "cos",
    "reciprocal", "floor", "round", "sign", "log2", "log10", "selu", "celu", "logsigmoid", "log_sigmoid", "trunc",
    "detach", "alias",
}  # fmt: skip
_NARY = {
    "add", "sub", "mul", "div", "rsub", "pow", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "where",
    "masked_fill", "__and__", "__or__", "__xor__", "bitwise_and", "bitwise_or", "bitwise_xor", "logical_and",
    "logical_or", "fmod", "remainder", "lerp",
}  # fmt: skip


def stem(op: str) -> str:
    """``aten.add.Tensor`` -> ``add``."""
    return op.split(".")[1] if "." in op else op


def is_view(op: str) -> bool:
    """Whether it only says otherwise where values lie."""
    return stem(op) in _VIEWS


def is_pointwise(op: str) -> bool:
    """Whether each value of the result is computed from the values at its place (after broadcasting) alone."""
    return stem(op) in _UNARY or stem(op) in _NARY


def is_unary(op: str) -> bool:
    """Whether it is pointwise and reads one tensor."""
    return stem(op) in _UNARY


def argument(node: Node, position: int, name: str, default: Any) -> Any:
    """An argument by place or by name."""
    return node.args[position] if len(node.args) > position else dict(node.kwargs).get(name, default)


def span(node: Node, length: int) -> tuple[int, int]:
    """First and last but one of what a ``slice`` takes of so many."""
    start, end, _ = slice(argument(node, 2, "start", None), argument(node, 3, "end", None)).indices(length)
    return start, end


def axis(value: int, dims: int) -> int:
    """``value`` counted from the front."""
    return value + dims if value < 0 else value


def _axes_keep_rows(node: Node, position: int, dims: int) -> bool:
    axes = node.args[position] if len(node.args) > position else None
    if axes is None or axes == ():
        return False
    axes = axes if isinstance(axes, tuple) else (axes,)
    return all(axis(each, dims) != 0 for each in axes)


def _einsum_keeps_rows(node: Node) -> bool:
    equation: str = node.args[0].replace(" ", "")
    terms, _, result = equation.partition("->")
    firsts = {term[:1] for term in terms.split(",")}
    return (
        len(firsts) == 1
        and "." not in equation
        and result[:1] in firsts
        and terms.count(result[:1]) == terms.count(",") + 1
    )


_AXIS_AT = {
    "sum": 1, "mean": 1, "amax": 1, "amin": 1, "softmax": 1, "_softmax": 1, "log_softmax": 1, "_log_softmax": 1,
    "cumsum": 1, "cat": 1, "select": 1, "slice": 1, "unbind": 1, "argmax": 1, "flip": 1, "squeeze": 1,
    "index_select": 1, "gather": 1, "logsumexp": 1, "max": 1, "min": 1, "var": 1, "std": 1,
}  # fmt: skip


def keeps_rows(node: Node, inputs: list[Shape], output: Shape) -> bool:
    """Whether row i of the result is computed from rows i of ``inputs`` (those tensors that have rows) alone.

    Then it may be computed for one row and repeated, if the inputs' rows are all alike. False if it is not known.
    """
    if not output.by_row or not all(shape.by_row for shape in inputs):
        return False
    name, dims = stem(node.op), len(inputs[0]) if inputs else 0
    if is_pointwise(node.op):
        return all(len(shape) == len(output) for shape in inputs)
    if name in _AXIS_AT:
        default = 2 if name in {"split"} else _AXIS_AT[name]
        return _axes_keep_rows(node, default, dims)
    if name in {"stack", "unsqueeze"}:
        return _axes_keep_rows(node, 1, dims + 1)
    if name in {"split", "split_with_sizes", "chunk"}:
        return _axes_keep_rows(node, 2, dims)
    if name in {"linear", "bmm", "layer_norm"}:
        return dims >= (2 if name == "linear" else len(inputs[0]) if name == "bmm" else 1 + len(node.args[1]))
    if name == "matmul":
        return dims >= 2 and isinstance(node.args[0], Ref) and (len(inputs) == 1 or min(map(len, inputs)) > 2)
    if name in {"reshape", "flatten", "unflatten", "getitem"}:
        return True  # rows lead before and after, and nothing else counts them: each stays whole
    if name in {"expand", "repeat"}:
        return len(node.args[1]) == len(output) and (not inputs or node.args[1][0] in (-1, 1, Rows(1)))
    if name == "permute":
        return axis(node.args[1][0], dims) == 0
    if name == "transpose":
        return 0 not in (axis(node.args[1], dims), axis(node.args[2], dims))
    if name == "index":
        return bool(node.args[1][0] is None)
    if name == "einsum":
        return _einsum_keeps_rows(node)
    return False
