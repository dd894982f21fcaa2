"""From a torch module to a graph, by torch.export: named inputs, each column said to be per request or per candidate.

Knows nothing of samples or of what a ranker is; see ``ranker.py`` for that.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind

from larix.compile.graph import Column, Graph, Input, Node, Ref, Rows, Size, pruned
from larix.compile.run import run
from larix.errors import ConfigError

CONSTANT = (
    "constant."  # how weights are called that no state_dict has: tensors made in forward, buffers not kept
)

_SIZED = {
    "view",
    "expand",
    "repeat",
    "reshape",
    "full",
    "zeros",
    "ones",
    "new_zeros",
    "new_ones",
    "new_full",
    "_unsafe_view",
}


class _ByName(nn.Module):
    """A module that takes its tensors as one mapping."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, tensors: dict[str, Tensor]) -> Any:
        return self.module(**tensors)


def capture(
    module: nn.Module,
    examples: Mapping[str, Tensor],
    *,
    per_request: Mapping[str, bool | Sequence[tuple[str, int, bool]]] | None = None,
) -> Graph:
    """The graph of ``module(**examples)`` as it is in evaluation; the module is left as it was.

    ``examples``: tensors by argument name, all with the same number of rows (2 or more) along the first axis.
    ``per_request``: input -> True if all of it is alike for the candidates of a request, or its columns in order as
    (name, width, whether per request). Inputs not named are per candidate. Returns one tensor or a tuple, list or
    mapping of them, named ``output``, ``output.0`` or ``output.KEY``.

    ConfigError if the module cannot be exported, or if a row's result depends on other rows: buckets are padded.
    """
    declared = dict(per_request or {})
    unknown = sorted(set(declared) - set(examples))
    if unknown:
        raise ConfigError(f"per_request names {unknown}; the inputs are {sorted(examples)}")
    sizes = {int(each.shape[0]) for each in examples.values()}
    if len(sizes) != 1 or min(sizes) < 2:
        raise ConfigError(f"examples have {sorted(sizes)} rows; give all the same number of rows, 2 or more")
    inputs = tuple(
        Input(name, (Rows(1), *each.shape[1:]), each.dtype, _columns(name, each, declared.get(name, False)))
        for name, each in examples.items()
    )
    graph = _graph(_exported(module, examples), inputs)
    _check_rows_apart(graph, examples)
    return graph


def _columns(
    name: str, example: Tensor, declared: bool | Sequence[tuple[str, int, bool]]
) -> tuple[Column, ...]:
    width = int(example.shape[-1]) if example.dim() > 1 else 1
    if isinstance(declared, bool):
        return (Column(name, width, declared),)
    columns = tuple(Column(*each) for each in declared)
    if sum(column.width for column in columns) != width:
        told = sum(column.width for column in columns)
        raise ConfigError(
            f"per_request tells of {told} columns of input '{name}', which has {width}; tell of each"
        )
    return columns


def _exported(module: nn.Module, examples: Mapping[str, Tensor]) -> torch.export.ExportedProgram:
    rows = torch.export.Dim("rows", min=2, max=1 << 24)
    tensors = {name: each.detach() for name, each in examples.items()}
    dynamic = {"tensors": {name: {0: rows} for name in tensors}}
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch about torch
            program = torch.export.export(_ByName(module), (tensors,), dynamic_shapes=dynamic)
            functional: torch.export.ExportedProgram = program.run_decompositions({})
            return functional
    except Exception as error:  # whatever the exporter meets in a user's module
        text = str(error).strip() or repr(error)
        raise ConfigError(
            f"{type(module).__name__} cannot be captured: {text}; torch.export needs a forward without branches on values"
        ) from error
    finally:
        for each, training in modes.items():
            each.training = training


def _graph(program: torch.export.ExportedProgram, inputs: tuple[Input, ...]) -> Graph:
    signature = program.graph_signature
    weights: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    user = iter(inputs)
    for spec in signature.input_specs:
        name = str(getattr(spec.arg, "name", ""))
        if spec.kind is InputKind.USER_INPUT:
            values[name] = Ref(next(user).name)
            continue
        assert spec.target is not None
        constant = spec.target in program.constants
        weight = CONSTANT + spec.target if constant else spec.target
        held = program.constants if constant else program.state_dict
        weights[weight] = _tensor(held[spec.target])
        values[name] = Ref(weight)
    nodes = []
    taken = set(weights) | {each.name for each in inputs}
    for fx in program.graph.nodes:
        if fx.op != "call_function":
            continue
        size = fx.meta.get("val")
        if isinstance(size, torch.SymInt | int):
            values[fx.name] = _rows(size)
            continue
        name = fx.name if fx.name not in taken else f"{fx.name}~0"
        taken.add(name)
        kwargs = tuple(
            (key, _argument(value, values)) for key, value in fx.kwargs.items() if key not in _PLACES
        )
        args = tuple(_argument(each, values) for each in fx.args)
        node = Node(name, _op(fx.target), args, kwargs, _where(fx.meta))
        if _counts(node):
            raise ConfigError(
                f"{node.where} computes with the number of candidates ({node.op}), which padding changes; "
                "give it as an input if it is meant"
            )
        nodes.append(node)
        values[fx.name] = Ref(name)
    names = _output_names(program)
    of = [values[spec.arg.name].name for spec in signature.output_specs]
    return pruned(Graph(inputs, tuple(nodes), tuple(zip(names, of, strict=True)), weights))


_PLACES = {"device", "pin_memory", "layout", "memory_format"}


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value.detach().clone().contiguous()


def _rows(size: torch.SymInt | int) -> Size:
    if isinstance(size, int):
        return size
    times = re.fullmatch(r"(?:(\d+)\*)?s\d+", str(size))
    if times is None:
        raise ConfigError(f"a size of {size} is no multiple of the rows; reshape so that rows stay whole")
    return Rows(int(times.group(1) or 1))


def _argument(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, torch.fx.Node):
        return values[value.name]
    if isinstance(value, list | tuple):
        return tuple(_argument(each, values) for each in value)
    if value is None or isinstance(value, bool | int | float | str | torch.dtype):
        return value
    raise ConfigError(f"an operation has the argument {value!r}, which larix.compile cannot keep in a file")


def _op(target: Any) -> str:
    name = str(target) if isinstance(target, torch._ops.OpOverload) else target.__name__
    # A view holds for the strides it was captured with only; rules change those.
    return "aten.reshape.default" if name in ("aten.view.default", "aten._unsafe_view.default") else name


def _counts(node: Node) -> bool:
    sized = node.op.split(".")[1] in _SIZED if "." in node.op else False
    flat = (
        each
        for arg in (*node.args, *(v for _, v in node.kwargs))
        for each in (arg if isinstance(arg, tuple) else (arg,))
    )
    return not sized and any(isinstance(each, Rows) for each in flat)


def _where(meta: Mapping[str, Any]) -> str:
    stack = list((meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0].removeprefix("module").removeprefix(".") if stack else ""
    lines = re.findall(r'File "([^"]+)", line (\d+)', meta.get("stack_trace") or "")
    lines = [(file, line) for file, line in lines if "/torch/" not in file] or lines
    place = f"{PurePath(lines[-1][0]).name}:{lines[-1][1]}" if lines else ""
    return f"{path or 'forward'} ({place})" if place else path or "forward"


def _output_names(program: torch.export.ExportedProgram) -> list[str]:
    spec = program.call_spec.out_spec
    assert spec is not None
    many = torch.utils._pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    if isinstance(many, Mapping):
        return [f"output.{key}" for key in many]
    return ["output"] if isinstance(many, int) else [f"output.{number}" for number in range(spec.num_leaves)]


def _check_rows_apart(graph: Graph, examples: Mapping[str, Tensor]) -> None:
    """Row 0 alone, among its neighbours, and among others, must give the same."""
    with torch.no_grad():
        whole = run(graph, examples, len(next(iter(examples.values()))))
        alone = run(graph, {name: each[:1] for name, each in examples.items()}, 1)
    for name in whole:
        ours, theirs = whole[name], alone[name]
        apart = ours.dim() > 0 and theirs.shape[0] == 1 and ours.shape[1:] == theirs.shape[1:]
        if not apart or not torch.allclose(
            ours[:1].float(), theirs.float(), rtol=1e-3, atol=1e-4, equal_nan=True
        ):
            raise ConfigError(
                f"'{name}' of a row depends on the other rows of its batch; a compiled graph pads batches, so each "
                "row must be computed from itself alone"
            )
