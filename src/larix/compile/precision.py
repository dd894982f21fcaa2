"""Which products of a graph are computed in which precision, chosen by the error measured on samples under a bound.

Knows nothing of back-ends: lower precision is written into the graph (``lower.py``) and measured on torch eager.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from larix.compile import ops
from larix.compile.cost import cost_of
from larix.compile.feeds import Arrays
from larix.compile.graph import Graph
from larix.compile.run import evaluated, run, shapes
from larix.errors import ConfigError

KINDS = ("fp32", "bf16", "int8")
_SMALL = 0.002  # share of all products' work below which a product is left as it is


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """What lower precision may cost on the samples.

    ``error``: the largest difference of any output (a logit) from fp32's. ``auc_loss``: by how much any task's AUC may fall;
    ``calibration``: by which share any task's mean probability may move; both are of outputs with labels 0 and 1.
    None: not bounded.
    """

    error: float | None = None
    auc_loss: float | None = 0.0005
    calibration: float | None = 0.01

    def __post_init__(self) -> None:
        given = (self.error, self.auc_loss, self.calibration)
        if all(each is None for each in given) or any(each is not None and not each > 0 for each in given):
            raise ConfigError(
                f"a bound of {given} (error, auc_loss, calibration) bounds nothing; give numbers above 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Held-out samples, each a request of one candidate: ``arrays`` by the graph's inputs, all with as many rows.

    ``labels``: ``[rows, tasks]`` for the graph's first output; a column of other values than 0 and 1, or of one
    of them only, is not judged by AUC. ``exact``: what the first output should be; None: what the graph makes of ``arrays`` in
    fp32, which is something else where those have lost bits themselves.
    """

    arrays: Arrays
    labels: NDArray[np.float32] | None = None
    exact: NDArray[np.float32] | None = None

    @property
    def rows(self) -> int:
        """How many."""
        return len(next(iter(self.arrays.values())))


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """``units``: product (a node's name) -> ``bf16`` or ``int8``; all else is fp32.

    ``ranges``: the least and the largest value that an int8 product was seen to read. ``measured``: what it cost.
    """

    units: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

    def of(self, graph: Graph) -> "Precision":
        """What of it is of ``graph``: a half of the whole that it was chosen for."""
        names = {node.name for node in graph.nodes}
        units = {name: kind for name, kind in self.units.items() if name in names}
        ranges = {name: pair for name, pair in self.ranges.items() if name in names}
        return replace(self, units=units, ranges=ranges)

    def to_json(self) -> dict[str, Any]:
        """For a manifest."""
        ranges = {name: list(pair) for name, pair in self.ranges.items()}
        return {"units": dict(self.units), "ranges": ranges, "measured": dict(self.measured)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Precision":
        """What ``to_json`` gave."""
        ranges = {name: (float(low), float(high)) for name, (low, high) in value["ranges"].items()}
        return cls(units=value["units"], ranges=ranges, measured=value["measured"])


def everywhere(graph: Graph, kind: str, samples: Samples | None = None) -> Precision:
    """All products in one precision, whatever it costs; int8 needs ``samples`` for what its products read."""
    if kind not in KINDS:
        raise ConfigError(f"there is no precision '{kind}'; there are {KINDS}")
    if kind == "fp32":
        return Precision()
    if kind == "int8" and samples is None:
        raise ConfigError("int8 needs samples, to see the range of what each product reads; give samples=")
    units = dict.fromkeys(_units(graph, kind), kind)
    ranges = _ranges(graph, samples) if samples is not None and kind == "int8" else {}
    return Precision(units=units, ranges={name: ranges[name] for name in units if name in ranges})


def choose(
    graph: Graph, samples: Samples, bound: Bound, offered: Sequence[str] = ("int8", "bf16")
) -> Precision:
    """The lowest precision of each product that keeps the whole within ``bound`` on ``samples``.

    ``offered``: the kinds to try, the cheapest first. Products are put into a kind in order of the error that each
    alone brings, as many as the bound allows; what is left over is offered the next kind.
    """
    unknown = sorted(set(offered) - set(KINDS))
    if unknown:
        raise ConfigError(f"there is no precision {unknown}; there are {KINDS}")
    exact = _outputs(graph, Precision(), samples) if samples.exact is None else samples.exact
    ranges = _ranges(graph, samples) if "int8" in offered else {}
    chosen = Precision()
    for kind in offered:
        names = [name for name in _units(graph, kind) if name not in chosen.units]

        def trial(extra: Sequence[str], kind: str = kind, held: Precision = chosen) -> Precision:
            units = {**held.units, **dict.fromkeys(extra, kind)}
            ours = {name: ranges[name] for name, of in units.items() if of == "int8"}
            return Precision(units=units, ranges=ours)

        if not names or kind == "fp32":
            continue
        if _within(_judged(graph, trial(names), samples, exact), bound):
            chosen = trial(names)
            continue
        alone = {name: _judged(graph, trial([name]), samples, exact)["error"] for name in names}
        names.sort(key=alone.__getitem__)
        fits, fails = 0, len(names)
        while fails - fits > 1:
            middle = (fits + fails) // 2
            good = _within(_judged(graph, trial(names[:middle]), samples, exact), bound)
            fits, fails = (middle, fails) if good else (fits, middle)
        chosen = trial(names[:fits])
    return replace(chosen, measured=_judged(graph, chosen, samples, exact))


def measured(ours: NDArray[Any], exact: NDArray[Any], labels: NDArray[np.float32] | None) -> dict[str, float]:
    """What ``ours`` costs against ``exact``, both logits ``[rows, tasks]``: see ``Bound``."""
    found = {"error": float(np.max(np.abs(ours - exact), initial=0.0))}
    if labels is None:
        return found
    losses, shifts = [], []
    for task in range(labels.shape[1]):
        label = labels[:, task]
        if set(np.unique(label)) == {0.0, 1.0}:
            losses.append(auc(exact[:, task], label) - auc(ours[:, task], label))
            shifts.append(
                abs(float(np.mean(_sigmoid(ours[:, task])) / np.mean(_sigmoid(exact[:, task]))) - 1)
            )
    if losses:
        found |= {"auc_loss": float(max(losses)), "calibration": max(shifts)}
    return found


def auc(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """The share of pairs (one with label 1, one with 0) that ``scores`` order rightly; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ones = labels == 1
    good, bad = int(ones.sum()), int((~ones).sum())
    return float((rank[ones].sum() - good * (good + 1) / 2) / (good * bad))


def _sigmoid(x: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x.astype(np.float64))))


def _within(found: Mapping[str, float], bound: Bound) -> bool:
    limits = {"error": bound.error, "auc_loss": bound.auc_loss, "calibration": bound.calibration}
    asked = {name: limit for name, limit in limits.items() if limit is not None}
    missing = sorted(set(asked) - set(found))
    if missing:
        raise ConfigError(
            f"{missing} cannot be measured without labels of 0 and 1; give Samples(labels=...) or a bound on error"
        )
    return all(found[name] <= limit for name, limit in asked.items())


def _judged(graph: Graph, precision: Precision, samples: Samples, exact: NDArray[Any]) -> dict[str, float]:
    return measured(_outputs(graph, precision, samples), exact, samples.labels)


def _tensors(samples: Samples) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in samples.arrays.items()}


def _outputs(graph: Graph, precision: Precision, samples: Samples) -> NDArray[Any]:
    from larix.compile.lower import lower

    found = run(lower(graph, precision), _tensors(samples), samples.rows, requests=samples.rows)
    return next(iter(found.values())).float().numpy()


def _ranges(graph: Graph, samples: Samples) -> dict[str, tuple[float, float]]:
    values = evaluated(graph, _tensors(samples), samples.rows, requests=samples.rows)
    found = {}
    for node in graph.nodes:
        if node.op == ops.LINEAR:
            read = values[node.args[0].name]
            found[node.name] = (min(float(read.min()), 0.0), max(float(read.max()), 0.0))
    return found


def _units(graph: Graph, kind: str) -> list[str]:
    """The products that ``kind`` can be had for, apart from those that hardly cost anything."""
    known = shapes(graph)
    wanted = {ops.LINEAR} if kind == "int8" else {ops.LINEAR, ops.BMM, ops.MATMUL, ops.EINSUM}
    work = {
        node.name: cost_of(node, known, 100).flops
        for node in graph.nodes
        if node.op in wanted and known[node.name].dtype == torch.float32
    }
    frozen = {
        node.name for node in graph.nodes if node.op != ops.LINEAR or node.args[1].name in graph.weights
    }
    return [name for name, flops in work.items() if name in frozen and flops >= _SMALL * sum(work.values())]
