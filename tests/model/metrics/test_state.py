import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.features import Binary, Seconds
from larix.model.metrics import Metrics, metrics
from larix.model.metrics.state import dump, load

TASKS = (Binary("click"), Seconds("play"))
BOUNDS = {"bins": 64, "budget": 300, "max_scenes": 2}


def feed(into, rng, keyed, size=40):
    labels = np.stack([rng.integers(0, 2, size), rng.exponential(3, size)], axis=1).astype(np.float32)
    labels[rng.random((size, 2)) < 0.1] = np.nan
    scores = rng.standard_normal((size, 2)).astype(np.float32)
    keys = (rng.integers(0, 30, size), rng.integers(0, 3, size)) if keyed else (None, None)
    into.update(scores, labels, rng.random(size).astype(np.float32), *keys)


@given(st.integers(0, 2**32), st.booleans(), st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_dumped_and_loaded_they_go_on_to_the_bit(seed, keyed, before, after, computed):
    flush, metrics.FLUSH = metrics.FLUSH, 100  # so that dumps fall before and after rounds of counting
    try:
        rng = np.random.default_rng(seed)
        whole = Metrics(TASKS, **BOUNDS)
        for _ in range(before):
            feed(whole, rng, keyed)
        if computed:
            whole.compute()
        said, arrays = dump(whole)
        frozen = {name: array.copy() for name, array in arrays.items()}
        for array in frozen.values():
            array.flags.writeable = False  # as those of a file are
        other = Metrics(TASKS, **BOUNDS)
        load(other, json.loads(json.dumps(said)), frozen)
        for number in range(after):
            for each in (whole, other):
                feed(each, np.random.default_rng([seed, number]), keyed)
        assert whole.compute() == other.compute()
        assert whole.scenes_left_out == other.scenes_left_out
    finally:
        metrics.FLUSH = flush


def test_a_dump_leaves_the_metrics_as_they_are():
    rng = np.random.default_rng(1)
    one, other = Metrics(TASKS, **BOUNDS), Metrics(TASKS, **BOUNDS)
    for number in range(5):
        feed(one, np.random.default_rng(number), True)
        feed(other, np.random.default_rng(number), True)
        dump(one)
    assert one.compute() == other.compute()
    feed(one, rng, True)
    with pytest.raises(AssertionError):
        assert one.compute() == other.compute()
