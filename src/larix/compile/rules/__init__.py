"""The rules, each a function from a graph to an equal and cheaper one."""

from larix.compile.rules.cheaper import cheaper
from larix.compile.rules.common import common
from larix.compile.rules.drop import drop
from larix.compile.rules.fold import fold
from larix.compile.rules.hoist import hoist
from larix.compile.rules.merge import merge
from larix.compile.rules.mix import mix
from larix.compile.rules.norms import norms
from larix.compile.rules.turn import turn

__all__ = ["cheaper", "common", "drop", "fold", "hoist", "merge", "mix", "norms", "turn"]
