from functools import cache

import torch
from hypothesis import given, settings
from nets import assert_equal, experts, graphs, ops_of

from larix.compile import RULES, capture, cost, optimise


@cache
def net():
    return capture(experts(), {"x": torch.randn(4, 12)}, per_request={"x": [("u", 8, True), ("c", 4, False)]})


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_all_rules_together_change_nothing_but_the_cost(graph):
    after, _ = optimise(graph)
    assert_equal(graph, after, tolerance=1e-3)


@settings(max_examples=15, deadline=None)
@given(graphs())
def test_each_rule_alone_changes_nothing(graph):
    for rule in RULES:
        assert_equal(graph, rule(graph)[0], tolerance=1e-3)


def test_a_net_gets_cheaper_step_by_step_and_the_steps_add_up():
    graph = net()
    after, steps = optimise(graph, candidates=100)
    assert_equal(graph, after)
    saved = cost(graph, 100) - cost(after, 100)
    assert sum(step.saved.flops for step in steps) == saved.flops > 0
    assert sum(step.saved.bytes for step in steps) == saved.bytes
    assert {step.rule for step in steps} >= {"drop", "norms", "merge", "hoist"}
    assert all(step.notes for step in steps)
    assert "_native_batch_norm_legit_no_training" not in ops_of(after)


def test_what_has_been_optimised_is_left_alone():
    after, _ = optimise(net())
    assert optimise(after)[1] == []
