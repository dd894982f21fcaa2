import io

import pytest
import small_feed
from rich.console import Console

from larix.recipes import carry_out


@pytest.fixture
def quiet():
    return Console(file=io.StringIO(), force_terminal=False, width=200)


@pytest.fixture(scope="session")
def trained(place, data):
    """A run of the tiny recipe, trained on the feed's first two days, tested on the last two."""
    folder = place / "runs" / "replayed"
    carry_out(small_feed.TINY, ["steps=2"], folder, Console(file=io.StringIO()), data=data)
    return folder
