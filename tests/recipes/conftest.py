import os

# Threads of torch that wait by spinning starve those they wait for on a machine that others use too; set before torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import pytest
import small_feed
import torch

torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder whose ``runs/`` all tests share, so that samples are made once."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="session")
def data(place):
    return small_feed.write(place / "feed")
