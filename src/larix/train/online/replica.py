"""A replica of an online run in a serving process: rows, dense weights and features, kept current while it answers.

Knows the topic of deltas and the run's folder; knows nothing of how training goes on.
"""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from torch import nn

from larix.batch import Floats
from larix.embedding.quantize import Format
from larix.features import Sample
from larix.train.online.deltas import Deltas


class Replica:
    """What a run's ranker says, a moment after it learned it. Any number of threads may ask.

    ``folder``: the online run's. ``ranker``: what makes its network of the sample. ``precision`` and ``threads``: see
    ``embedding.Replica``. ``event_ms``: the latest event time in the rows, ``published_ms``: when they were published.
    """

    def __init__(
        self,
        folder: str | Path,
        ranker: Callable[[Sample], nn.Module],
        deltas: Deltas,
        *,
        precision: Format = "fp32",
        threads: int = 1,
    ) -> None:
        raise NotImplementedError

    @property
    def sequence(self) -> int:
        """The state that the rows are at; 0 before there is one."""
        raise NotImplementedError

    def poll(self, timeout_s: float = 0.0) -> bool:
        """Take over what has been published since; whether that was anything."""
        raise NotImplementedError

    def start(self, every: float = 0.05, *, on_error: Callable[[Exception], None] | None = None) -> None:
        """Poll on a thread of its own until `stop`."""

    def stop(self) -> None:
        """End the thread, and raise what ended it before."""

    def scores(self, records: pa.RecordBatch) -> Floats:
        """Return float32 ``[B, tasks]``: a logit, or log1p of seconds."""
        raise NotImplementedError

    def predict(self, records: pa.RecordBatch) -> pa.RecordBatch:
        """Return a column a task: a probability, or seconds."""
        raise NotImplementedError
