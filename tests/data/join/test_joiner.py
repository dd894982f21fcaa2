"""The joiner equals the oracle, row by row and in order, whatever comes and however it is cut."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from join_events import BOTH, PARTITIONS, one_topic, said, specs, streams

from larix.data.join import Joiner
from larix.data.join.reference import Reference

FEW = settings(max_examples=200, deadline=None)


def cut(appends, cuts):
    edges = [0, *sorted(min(each, len(appends)) for each in cuts), len(appends)]
    return [appends[begin:end] for begin, end in itertools.pairwise(edges)]


def equal_the_oracle(spec, pushes, partitions, **more):
    oracle, joiner = Reference(spec, partitions=partitions), Joiner(spec, partitions=partitions, **more)
    for push in pushes:
        assert said(joiner.push(push)) == said(oracle.push(push))
        assert joiner.watermark == oracle.watermark
        assert joiner.stats == oracle.stats
    assert said(joiner.finish()) == said(oracle.finish())
    assert joiner.stats == oracle.stats
    return joiner


CUTS = st.lists(st.integers(0, 30), max_size=6)


@FEW
@given(spec=specs(), appends=streams(most=30), cuts=CUTS)
def test_the_joiner_equals_the_oracle(spec, appends, cuts):
    equal_the_oracle(spec, cut(appends, cuts), PARTITIONS)


@FEW
@given(spec=specs(ids="int64").map(one_topic), appends=streams(most=30, ids="int64", shared=True), cuts=CUTS)
def test_it_does_when_events_share_a_topic(spec, appends, cuts):
    equal_the_oracle(spec, cut(appends, cuts), BOTH)


@FEW
@given(spec=specs(keys="string"), appends=streams(most=30, keys="string"), cuts=CUTS)
def test_it_does_when_keys_are_strings(spec, appends, cuts):
    equal_the_oracle(spec, cut(appends, cuts), PARTITIONS)
