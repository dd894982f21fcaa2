"""Rules applied in order, and what each did and saved. Knows the rules by their functions only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from larix.compile.cost import Cost, cost
from larix.compile.graph import Graph
from larix.compile.rules.cheaper import cheaper
from larix.compile.rules.common import common
from larix.compile.rules.drop import drop
from larix.compile.rules.fold import fold
from larix.compile.rules.hoist import hoist
from larix.compile.rules.merge import merge
from larix.compile.rules.norms import norms

Rule = Callable[[Graph], tuple[Graph, list[str]]]

# Hoisting goes last: it then splits what has been merged, and sees norms that were scales as part of their Linears.
# What it leaves behind (weights cut up, columns joined twice) the first rules tidy up in a second round.
RULES: tuple[Rule, ...] = (fold, drop, cheaper, common, norms, merge, hoist)
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One application of a rule: ``notes`` say what it did, ``saved`` what a request of n candidates saves by it."""

    rule: str
    notes: tuple[str, ...]
    saved: Cost


def optimise(graph: Graph, rules: Sequence[Rule] = RULES, candidates: int = 500) -> tuple[Graph, list[Step]]:
    """An equal graph that costs less, and the steps there. ``candidates``: of the request that savings are told of."""
    steps = []
    before = cost(graph, candidates)
    for _ in range(_ROUNDS):
        idle = True
        for rule in rules:
            graph, notes = rule(graph)
            if notes:
                after = cost(graph, candidates)
                steps.append(Step(rule.__name__, tuple(notes), before - after))
                before, idle = after, False
        if idle:
            break
    return graph, steps
