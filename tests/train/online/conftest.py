import onlining
import pytest


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """The folder of a run that fit has left."""
    return onlining.begin(tmp_path_factory.mktemp("start")).folder


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """Two days of samples, 47 batches."""
    return onlining.feed(tmp_path_factory.mktemp("feed"), rows=3000)


@pytest.fixture(scope="session")
def whole(start, samples, tmp_path_factory):
    """The folder of a run on all samples that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    with onlining.log_of(folder / "log", samples) as log:
        onlining.run(start, log, folder / "run")
    return folder / "run"


@pytest.fixture
def log(samples, tmp_path):
    with onlining.log_of(tmp_path / "log", samples) as opened:
        yield opened
