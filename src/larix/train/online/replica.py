"""A replica of an online run in a serving process: rows, dense weights and features, kept current while it answers.

Knows the topic of deltas and the run's folder; knows nothing of how training goes on.
"""

import copy
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import safetensors
import safetensors.torch
import torch
from torch import nn

from larix.batch import Batch, Floats
from larix.embedding import DeltaFollower, Layout, Lookup, Stand, storage
from larix.embedding import Replica as Rows
from larix.embedding.quantize import Format
from larix.errors import ConfigError, StorageError
from larix.features import Sample
from larix.model.embed import Embed
from larix.train import checkpoint, version
from larix.train.online.deltas import DeltaReader, Deltas

_NO_HANDLES = np.zeros(0, np.uint64)


class Replica:
    """What a run's ranker says, a moment after it learned it. Any number of threads may ask.

    ``folder``: the online run's. ``ranker``: what makes its network of the sample. ``precision`` and ``threads``: see
    ``embedding.Replica``, which ``rows`` is. Rows come by deltas every few seconds, dense weights less often: an answer is of
    the newest of both. ``follower`` tells how following goes. Close it, or use ``with``.

    Raises:
        ConfigError: the folder has no version yet, or the ranker is another one. StorageError: a version is damaged.
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
        versions = Path(folder) / "versions"
        there = version.versions(versions)
        if not there:
            raise ConfigError(
                f"'{folder}' has no version yet; a replica begins with one: start the trainer first"
            )
        found = checkpoint.read(there[-1])
        network = ranker(found.sample)
        found.restore_ranker(network)
        specs = list(storage.read(there[-1] / "tables").specs.values())
        self.rows = Rows(specs, precision=precision, threads=threads)
        self.sample = found.sample
        self._reader = DeltaReader(deltas, versions)
        self._network = _Network(network.eval(), self._reader)
        self._local = threading.local()  # an Embed a thread: two may not be inside of one
        self.follower = DeltaFollower(self.rows, self._reader, self._network)

    @property
    def stand(self) -> Stand | None:
        """The state that the rows are at; None before the first."""
        return self.follower.stand

    @property
    def sequence(self) -> int:
        """Its sequence number; 0 before the first."""
        return 0 if self.follower.stand is None else self.follower.stand.sequence

    @property
    def event_ms(self) -> int:
        """The latest event time in the rows."""
        return self.follower.event_ms

    @property
    def published_ms(self) -> int:
        """When they were published."""
        return self.follower.published_ms

    def poll(self, timeout_s: float = 0.0) -> bool:
        """Take over what has been published since; whether that was anything: if so, there may be more."""
        return self.follower.poll(timeout_s)

    def start(self, every: float = 0.05, *, on_error: Callable[[Exception], None] | None = None) -> None:
        """Poll on a thread of its own until `stop`; see ``embedding.Updater.start`` for ``on_error``."""
        self.follower.start(every, on_error=on_error)

    def stop(self) -> None:
        """End the thread, and raise what ended it before."""
        self.follower.stop()

    def close(self) -> None:
        """Stop, and let go of the log."""
        try:
            self.stop()
        finally:
            self._reader.close()

    def __enter__(self) -> "Replica":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def scores(self, records: pa.RecordBatch) -> Floats:
        """Return float32 ``[B, tasks]``: a logit, or log1p of seconds. Label columns need not be there."""
        batch = self.sample.transform(records, labels=False)
        embed = getattr(self._local, "embed", None)
        if embed is None:
            embed = self._local.embed = Embed(self.sample, _ReadOnly(self.rows))
        with torch.inference_mode():
            scores: Floats = self._network.ranker(embed(batch, train=False)).float().numpy()
        return scores

    def predict(self, records: pa.RecordBatch) -> pa.RecordBatch:
        """Return a float32 column a task: a probability, or seconds."""
        scores = self.scores(records)
        columns = {}
        for at, task in enumerate(self.sample.tasks):
            score = scores[:, at]
            value = 1 / (1 + np.exp(-score)) if task.kind == "binary" else np.expm1(np.maximum(score, 0))
            columns[task.name] = pa.array(value.astype(np.float32))
        return pa.RecordBatch.from_pydict(columns)


class _Network:
    """The dense side: each change makes another module, so that whoever computes with the one before may go on."""

    def __init__(self, ranker: nn.Module, reader: DeltaReader) -> None:
        self.ranker = ranker
        self._reader = reader

    def begin(self, version: str) -> None:
        fresh = copy.deepcopy(self.ranker)
        checkpoint.read(self._reader.version(version)).restore_ranker(fresh)
        self.ranker = fresh

    def dense(self, payload: bytes) -> None:
        fresh = copy.deepcopy(self.ranker)
        try:
            fresh.load_state_dict(safetensors.torch.load(payload))
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise StorageError(
                f"dense weights in the topic of deltas cannot be taken over: {error}"
            ) from error
        self.ranker = fresh


class _ReadOnly:
    """Rows as an Embed asks for them, which is never to train on them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def gather(self, layout: Layout, batch: Batch, outs: Sequence[Floats], *, insert: bool = True) -> Lookup:
        assert not insert, "a replica is read only"
        self._rows.gather(layout, batch, outs)
        return Lookup(layout, batch, _NO_HANDLES, self._rows)

    def apply(
        self, lookup: Lookup, grads: Sequence[Floats], *, lr_scale: float = 1.0, clicks: Floats | None = None
    ) -> None:
        raise AssertionError("a replica is read only")
