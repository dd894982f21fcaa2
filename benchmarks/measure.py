"""What every benchmark shares: one JSON object a line, workers measured in turn, peers in environments of their own.

Knows nothing of what is measured.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PEERS = Path(__file__).resolve().parent.parent / "build" / "peers"


def emit(
    bench: str, subject: str, case: str, metric: str, values: Sequence[float], unit: str, **more: object
) -> None:
    """Print one result line; ``value`` is the median of ``values``."""
    line = {
        "bench": bench,
        "subject": subject,
        "case": case,
        "metric": metric,
        "value": round(statistics.median(values), 6),
        "unit": unit,
        "runs": len(values),
        "min": round(min(values), 6),
        "max": round(max(values), 6),
    }
    print(json.dumps(line | more), flush=True)


def absent(bench: str, subject: str, why: str) -> None:
    """Print that a subject was to be measured but could not, on both outputs."""
    print(json.dumps({"bench": bench, "subject": subject, "absent": why}), flush=True)
    print(f"{subject} is absent: {why}", file=sys.stderr)


def peer_python(name: str, *requirements: Sequence[str]) -> str:
    """The interpreter of a virtual environment ``name``, made on first use by one ``pip install`` for each list given."""
    folder = PEERS / name
    python = folder / "bin" / "python"
    done = folder / ".installed"
    if not done.exists():
        print(f"installing the peer {name} in {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        for words in requirements:
            command = [str(python), "-m", "pip", "install", "--quiet", *words]
            subprocess.run(command, check=True, stdout=sys.stderr)
        done.touch()
    return str(python)


class Worker:
    """A subject in a process of its own, so that thread pools and memory do not mix; it works when told to."""

    def __init__(
        self, python: str, script: str, arguments: Sequence[str], env: Mapping[str, str] | None = None
    ):
        self._process = subprocess.Popen(
            [python, script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.about: dict[str, Any] = self._read()

    def round(self) -> dict[str, Any]:
        """Let it work one round; what it measured."""
        self._say("round")
        return self._read()

    def end(self) -> dict[str, Any]:
        """Stop it; what it says of itself at the end."""
        self._say("end")
        last = self._read()
        self._process.wait(timeout=60)
        return last

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            if text.startswith("{"):
                return dict(json.loads(text))
        raise SystemExit(f"a worker ended with status {self._process.wait()}: {self._process.args}")


def work(about: Mapping[str, object], one_round: Callable[[], Mapping[str, object]]) -> None:
    """The worker's side: say that it is ready, work a round for each line on standard input, end with the peak RSS."""
    print(json.dumps(dict(about)), flush=True)
    for text in sys.stdin:
        if text.strip() == "end":
            break
        print(json.dumps(dict(one_round())), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_rss_bytes": peak}), flush=True)
