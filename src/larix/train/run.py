"""A run: its folder on disk (config.json, metrics.json, versions/, report.html) and the ranker it trained.

Knows nothing of how training goes on.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from larix.batch import Batch, Floats
from larix.data import Files
from larix.embedding import Tables
from larix.errors import ConfigError, StorageError
from larix.features import Sample
from larix.model.embed import Embed, device_of
from larix.train import checkpoint
from larix.train.checkpoint import SavedStore
from larix.train.evaluate import evaluate, predict, score
from larix.train.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Run:
    """A trained ranker with its sample and tables.

    ``ranker`` holds the weights for use: the moving average if there is one.
    """

    folder: Path
    sample: Sample
    ranker: nn.Module
    tables: SavedStore
    settings: Settings

    @classmethod
    def load(
        cls,
        folder: str | Path,
        ranker: nn.Module | Callable[[Sample], nn.Module],
        *,
        store: type[SavedStore] = Tables,
        device: str = "cpu",
    ) -> Self:
        """Return the run in ``folder`` at its newest version.

        ``ranker``: the network, or what makes it from the sample. ConfigError if there is no version or the
        ranker is another one; StorageError names a damaged file.
        """
        folder, where = Path(folder), device_of(device)
        found = checkpoint.load(folder / "versions")
        if found is None:
            raise ConfigError(
                f"'{folder}' has no version to load; give the folder of a run that has saved one"
            )
        settings = Settings.from_json(read_json(folder / "config.json")["settings"])
        sample = found.sample
        network = ranker if isinstance(ranker, nn.Module) else ranker(sample)
        found.restore_ranker(network)
        return cls(
            folder=folder,
            sample=sample,
            ranker=network.to(where),
            tables=found.tables(store, threads=settings.threads),
            settings=settings,
        )

    @property
    def config(self) -> dict[str, Any]:
        """What the run was told: ``config.json``."""
        return read_json(self.folder / "config.json")

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured: ``metrics.json``."""
        return read_json(self.folder / "metrics.json")

    def record(self, **parts: Any) -> None:
        """Set keys of ``metrics.json``, such as ``test=run.evaluate(...)``."""
        write_json(self.folder / "metrics.json", self.metrics | parts)

    def evaluate(self, source: Files) -> dict[str, Any]:
        """Return the metrics on ``source``; see ``model.metrics.Metrics.compute``."""
        return evaluate(self.ranker, self._embed(), source, batch_size=self.settings.batch_size)

    def predict(self, source: Files) -> pa.Table:
        """Return predictions in the source's order: see ``train.predict``."""
        batches = list(predict(self.ranker, self._embed(), source, batch_size=self.settings.batch_size))
        if not batches:
            raise ConfigError("the source has no rows to predict; check the days asked for")
        return pa.Table.from_batches(batches)

    def score(self, batch: Batch) -> dict[str, Floats]:
        """Return the predictions of one batch by task, float32 ``[size]``: see ``train.predict``."""
        return score(self.ranker, self._embed(), batch)

    def predict_to(self, source: Files, path: str | Path) -> int:
        """Write what ``predict`` returns to the Parquet file ``path``, batch by batch; return its rows."""
        rows, writer = 0, None
        partial = Path(path).with_name(f".{Path(path).name}.new")
        try:
            for batch in predict(self.ranker, self._embed(), source, batch_size=self.settings.batch_size):
                writer = writer or pq.ParquetWriter(partial, batch.schema)
                writer.write_batch(batch)
                rows += len(batch)
            if writer is None:
                raise ConfigError("the source has no rows to predict; check the days asked for")
            writer.close()
            partial.replace(path)
        except OSError as error:
            raise StorageError(f"'{path}' cannot be written: {error}") from error
        finally:
            with suppress(OSError):  # gone to its place, or never made
                partial.unlink()
        return rows

    def _embed(self) -> Embed:
        weight = next(self.ranker.parameters(), None)
        return Embed(self.sample, self.tables, "cpu" if weight is None else weight.device)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as JSON, all of it or nothing; StorageError if it cannot be written."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        raise StorageError(f"'{path}' cannot be written: {error.strerror}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return what ``write_json`` wrote; StorageError if it is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise StorageError(f"'{path}' cannot be read: {why}; is this the folder of a run?") from error
    if not isinstance(value, dict):
        raise StorageError(f"'{path}' is damaged: it holds a {type(value).__name__}, not a JSON object")
    return value
