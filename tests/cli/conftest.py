import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Threads of torch that wait by spinning starve those they wait for on a machine that others use too; set before torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import pytest
import small_feed
import torch

from larix.cli import main

torch.set_num_threads(min(2, os.cpu_count() or 1))


@dataclass(frozen=True)
class Told:
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def larix(capsys, monkeypatch):
    """Call ``larix WORDS`` in this process, 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words) -> Told:
        monkeypatch.setattr(sys, "argv", ["larix", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return Told(ended.value.code or 0, shown.out, shown.err)

    return call


@pytest.fixture
def mistake(larix):
    """Call a command that must tell a mistake in one line; return the line."""

    def call(*words) -> str:
        told = larix(*words)
        assert told.code == 2, told
        lines = told.err.splitlines()
        assert len(lines) == 1, told.err
        assert lines[0].startswith("larix: ")
        return lines[0]

    return call


@pytest.fixture(scope="session")
def process():
    """Begin ``larix WORDS`` in a process of its own."""

    def begin(*words, **more) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", "from larix.cli import main; main()", *map(str, words)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    return begin


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A folder whose ``runs/`` all tests share, so that samples are made once."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="session")
def feed(place) -> Path:
    return small_feed.write(place / "feed")


@pytest.fixture(scope="session")
def run(place, feed) -> Path:
    """A finished run of the tiny recipe; not to be changed."""
    from rich.console import Console

    from larix.recipes import carry_out

    folder = place / "runs" / "kept"
    carry_out(small_feed.TINY, ["epochs=2"], folder, Console(quiet=True), data=feed)
    return folder
