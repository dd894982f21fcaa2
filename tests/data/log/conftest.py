import pytest

from larix.data.log.head import Head
from larix.data.log.place import Place
from larix.data.log.writer import Writer


class Clock:
    """Milliseconds as a test says."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def place(tmp_path):
    Head.create(tmp_path / "head")
    return Place(folder=tmp_path, log="log", topic="clicks", partition=0)


@pytest.fixture
def writing(place, clock):
    """Open a writer of ``place``; all are closed in the end."""
    opened = []

    def open_writer(segment_bytes=1 << 20, **more) -> Writer:
        options = {"segment_age_s": None, "clock": clock, "rolled": lambda: None, **more}
        opened.append(Writer(place, segment_bytes=segment_bytes, **options))
        return opened[-1]

    yield open_writer
    for writer in opened:
        writer.close()
