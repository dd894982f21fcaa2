"""A graph with its chosen products in bf16 or int8, written out as operations, so that every back-end does the same.

Knows nothing of how products are chosen.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from larix.compile import ops
from larix.compile.graph import Graph, Node, Ref, mapped
from larix.compile.precision import Precision
from larix.compile.writer import Writer
from larix.errors import ConfigError

# They pass bf16 on as it is, or lose no more by it than the product behind them does anyway.
_CARRY = {
    "relu",
    "slice",
    "select",
    "reshape",
    "cat",
    "stack",
    "unsqueeze",
    "squeeze",
    "expand",
    "permute",
    "transpose",
    "add",
    "mul",
}

_PAD = "aten.constant_pad_nd.default"
_TILE = (
    32  # values of bf16 in a row of a matrix unit's tile: other widths lie askew in memory, 10 to 15% slower
)
_WIDE = 256  # columns from which filling up what is in int8 takes less time than it saves


def lower(graph: Graph, precision: Precision, int8_tile: int = 1) -> Graph:
    """The graph as ``precision`` says; outputs are float32. ConfigError if it names what the graph has not.

    ``int8_tile``: what wide columns in int8 are filled up to a multiple of; some back-ends gain by it, some lose.
    """
    check_known(graph, precision)
    return _Lowering(graph, precision, int8_tile).result() if precision.units else graph


def check_known(graph: Graph, precision: Precision) -> None:
    """Raise ConfigError if ``precision`` names what the graph has not."""
    unknown = sorted(set(precision.units) - {node.name for node in graph.nodes})
    if unknown:
        raise ConfigError(
            f"the precision names {unknown[:3]}, which the graph does not have; choose it for this graph"
        )


class _Lowering:
    """A value has a float32 form, a bf16 form, or both; each is made when it is first asked for."""

    def __init__(self, graph: Graph, precision: Precision, int8_tile: int) -> None:
        self.graph, self.precision, self.writer = graph, precision, Writer(graph)
        self.int8_tile = int8_tile
        given = [each.name for each in graph.inputs] + list(graph.weights)
        self.full: dict[str, Ref] = {
            name: Ref(name) for name in given
        }  # never widened again from a bf16 form
        self.low: dict[str, Ref] = {}
        self.padded: dict[Ref, Ref] = {}
        self.quantized: dict[tuple[str, float, int], Ref] = {}
        self.read_fully = _read_fully(graph, precision)
        for node in graph.nodes:
            self._node(node)

    def result(self) -> Graph:
        """The new graph."""
        like = self.graph.nodes[-1]
        return self.writer.finish(
            tuple((name, self._full(Ref(of), like).name) for name, of in self.graph.outputs)
        )

    def _node(self, node: Node) -> None:
        kind = self.precision.units.get(node.name)
        if kind == "int8":
            self.full[node.name] = self._int8(node)
        elif kind == "bf16" and node.op == ops.LINEAR:
            self.low[node.name] = self._linear(node)
        elif kind == "bf16" or self._carries(node):
            self.low[node.name] = self._copy(node, self._low)
        else:
            self.full[node.name] = self._copy(node, self._full)

    def _copy(self, node: Node, form: Any) -> Ref:
        def change(value: Any) -> Any:
            return form(value, node) if isinstance(value, Ref) else value

        return self.writer.add(
            node.op, *mapped(node.args, change), kwargs=mapped(node.kwargs, change), like=node
        )

    def _linear(self, node: Node) -> Ref:
        source, weight = self._low(node.args[0], node), self._low(node.args[1], node)
        source, weight = self._in_tiles(source, weight, _TILE, node)
        bias = tuple(each if each is None else self._low(each, node) for each in node.args[2:])
        return self.writer.add(ops.LINEAR, source, weight, *bias, like=node)

    def _in_tiles(self, source: Ref, weight: Ref, tile: int, node: Node) -> tuple[Ref, Ref]:
        """A Linear's input, its columns filled up to whole tiles with zeros, and its weight, where zeros meet those."""
        held = self.writer.weights[weight.name]
        short = -held.shape[1] % tile
        if not short:
            return source, weight
        if source not in self.padded:
            level = self._is_once(source)
            self.padded[source] = self.writer.add(_PAD, source, (0, short), 0.0, like=node, per_request=level)
        return self.padded[source], self.writer.weight("padded", functional.pad(held, (0, short)))

    def _carries(self, node: Node) -> bool:
        """Whether to go on in bf16: what it reads is there in bf16, and who reads it does not want float32.

        Of what is an input, per request or one column it is enough that something else that it reads is in bf16 alone.
        """
        if ops.stem(node.op) not in _CARRY or node.name in self.read_fully:
            return False
        reads = [name for name in node.refs() if name not in self.graph.weights]
        only = [name in self.low and name not in self.full for name in reads]
        return any(only) and all(low or self._is_given(name) for name, low in zip(reads, only, strict=True))

    def _is_given(self, name: str) -> bool:
        ref = self.full.get(name, Ref(name))
        if name in self.full and len(shape := self.writer.shape(ref)) > 1 and shape[-1] == 1:
            return True
        return self._is_once(ref) or any(each.name == ref.name for each in self.graph.inputs)

    def _full(self, ref: Ref, like: Node) -> Ref:
        if ref.name in self.low and ref.name not in self.full:
            self.full[ref.name] = self._cast(self.low[ref.name], torch.float32, like)
        return self.full.get(ref.name, ref)

    def _low(self, ref: Ref, like: Node) -> Ref:
        if ref.name not in self.low:
            weight = self.writer.constant(ref)
            if weight is not None:
                self.low[ref.name] = self.writer.weight(ref.name, weight.to(torch.bfloat16))
            else:
                self.low[ref.name] = self._cast(self.full.get(ref.name, ref), torch.bfloat16, like)
        return self.low[ref.name]

    def _cast(self, ref: Ref, dtype: torch.dtype, like: Node) -> Ref:
        level = self._is_once(ref)
        return self.writer.add(ops.TO_COPY, ref, kwargs=(("dtype", dtype),), like=like, per_request=level)

    def _is_once(self, ref: Ref) -> bool:
        """Whether a value is per request; whoever first wants it in another form may not be."""
        source = self.writer.node(ref)
        if source is not None:
            return source.per_request
        return any(each.name == ref.name and each.per_request for each in self.graph.inputs)

    def _int8(self, node: Node) -> Ref:
        weight = self.graph.weights[node.args[1].name]
        tile = self.int8_tile if weight.shape[1] >= _WIDE and not node.per_request else 1
        source, plain = self._in_tiles(self._quantized(node), node.args[1], tile, node)
        scales = _row_scales(weight)
        quantized = self.writer.add(
            "aten.fake_quantize_per_channel_affine.default",
            plain,
            self.writer.weight("scales", scales),
            self.writer.weight("zeros", torch.zeros(len(scales), dtype=torch.int32)),
            0,
            -128,  # never reached: the scale makes the largest weight 127; ONNX knows no other range
            127,
            like=node,
        )
        return self.writer.add(ops.LINEAR, source, quantized, *node.args[2:], like=node)

    def _quantized(self, node: Node) -> Ref:
        """What an int8 Linear reads, once for all that read it in one range."""
        low, high = self.precision.ranges[node.name]
        scale = max(high - low, 1e-6) / 255
        key = (node.args[0].name, scale, round(-low / scale))
        if key not in self.quantized:
            source = self._full(node.args[0], node)
            self.quantized[key] = self.writer.add(
                "aten.fake_quantize_per_tensor_affine.default", source, *key[1:], 0, 255, like=node,
                per_request=self._is_once(source),
            )  # fmt: skip
        return self.quantized[key]


def _row_scales(weight: Tensor) -> Tensor:
    return weight.abs().amax(dim=1).clamp(min=1e-8) / 127


def _read_fully(graph: Graph, precision: Precision) -> set[str]:
    """Values that something in float32 reads, or that are outputs: carrying them in bf16 would gain nothing."""
    wanted = {of for _, of in graph.outputs}
    for node in reversed(graph.nodes):
        carried = ops.stem(node.op) in _CARRY and node.name not in wanted
        if precision.units.get(node.name) != "bf16" and not carried:
            wanted.update(node.refs())
    return wanted
