"""From a trained network to what serving runs: captured, rewritten by rules, compiled ahead of time."""

from larix.compile.afresh import compile_apart, with_weights
from larix.compile.artifact import BUCKETS, Artifact, compile, find, load
from larix.compile.backends import Backend, Eager, OnnxRuntime, OpenVINO
from larix.compile.capture import capture
from larix.compile.cost import Cost, cost
from larix.compile.forms import Forms, compile_forms, load_forms
from larix.compile.graph import Column, Graph, Input
from larix.compile.halves import Halves, lifted, split
from larix.compile.optimise import RULES, Rule, Step, optimise
from larix.compile.precision import Bound, Precision, Samples, choose, everywhere
from larix.compile.ranker import capture_ranker, tensors_of
from larix.compile.rules.hoist import Block, blocks
from larix.compile.session import Session

__all__ = [
    "BUCKETS",
    "RULES",
    "Artifact",
    "Backend",
    "Block",
    "Bound",
    "Column",
    "Cost",
    "Eager",
    "Forms",
    "Graph",
    "Halves",
    "Input",
    "OnnxRuntime",
    "OpenVINO",
    "Precision",
    "Rule",
    "Samples",
    "Session",
    "Step",
    "blocks",
    "capture",
    "capture_ranker",
    "choose",
    "compile",
    "compile_apart",
    "compile_forms",
    "cost",
    "everywhere",
    "find",
    "lifted",
    "load",
    "load_forms",
    "optimise",
    "split",
    "tensors_of",
    "with_weights",
]
