"""The trainer of `serve_soak.py`, a process of its own: trains a run on without end on its own logged samples, so many a second.

Publishes to the topic `deltas` of a log, as any online run does. Knows nothing of who follows.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pyarrow as pa
import torch
from rich.console import Console

from larix.data.log import DiskLog
from larix.recipes.compiled import logged_samples
from larix.recipes.online import carry_on
from larix.recipes.run import open_run

SETTINGS = ("batch_size=128", "publish_every_s=1", "dense_every_s=20", "save_every_s=45", "keep=3")
SAMPLES = 16_384  # different ones, in turn
_PIECE = 64


class Paced:
    """``samples`` over and over, ``pace`` of them a second."""

    def __init__(self, samples: pa.Table, pace: float) -> None:
        self._samples, self._pace = samples, pace
        self._given = 0
        self._begun = monotonic()

    @property
    def lag(self) -> int:
        return 0

    def poll(self, timeout_s: float) -> pa.Table:
        due = self._begun + self._given / self._pace
        if (wait := due - monotonic()) > 0:
            sleep(min(wait, timeout_s))
        if monotonic() < due:
            return self._samples.slice(0, 0)
        at = self._given % (len(self._samples) - _PIECE + 1)
        self._given += _PIECE
        return self._samples.slice(at, _PIECE)

    def finish(self) -> pa.Table:
        return self._samples.slice(0, 0)

    def save(self, folder: Path) -> dict[str, Any]:
        return {}

    def restore(self, said: Mapping[str, Any], folder: Path) -> None:
        pass

    def close(self) -> None:
        pass


def main() -> None:
    run, online, log, pace = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(1)
    console = Console(stderr=True)
    samples = pa.Table.from_batches([logged_samples(open_run(run)[0], run, console, SAMPLES)])
    with DiskLog(log) as opened:
        carry_on(run, Paced(samples, pace), online, console, log=opened, words=SETTINGS)


if __name__ == "__main__":
    main()
