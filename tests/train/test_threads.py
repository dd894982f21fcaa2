import ctypes

import numpy as np
import pytest
import torch

from larix import embedding
from larix.train.threads import torch_team

WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
TEAM = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)


def history(team):
    """Rows after lookups and updates large enough for threads."""
    rng = np.random.default_rng(0)
    tables = embedding.Tables([embedding.TableSpec(name="a", dim=5)], threads=4)
    tables.borrow_threads(team)
    for _ in range(4):
        ids = rng.integers(0, 20_000, 30_000)
        tables.lookup("a", ids, insert=True)
        tables.update("a", ids, rng.standard_normal((len(ids), 5)).astype(np.float32))
    return tables.items("a")


def assert_same(a, b):
    for ours, theirs in zip(a, b, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(torch_team() == 0, reason="torch has no GOMP threads here")
def test_rows_are_the_same_on_torchs_threads():
    torch.ones(1 << 20).sum()  # its team is at work already
    assert_same(history(torch_team()), history(0))


def test_one_thread_is_no_team():
    # OpenMP would start threads for the tables alone, and these spin for torch's next kernel, which needs none.
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch_team() == 0
    finally:
        torch.set_num_threads(threads)


def test_a_team_may_give_fewer_threads_than_asked():
    asked = []

    @TEAM
    def alone(work, data, count, flags):
        asked.append(count)
        WORK(work)(data)

    assert_same(history(ctypes.cast(alone, ctypes.c_void_p).value), history(0))
    assert set(asked) == {4}
