"""A ranker's scores over a source, streamed: as metrics, or as predictions. Changes no weight and no row.

Knows nothing of run folders.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from larix.batch import Batch, Floats
from larix.data import Files
from larix.data.ahead import Ahead
from larix.features.label import stands_for
from larix.model.embed import Embed
from larix.model.metrics import Metrics
from larix.train.step import check_outputs

_AHEAD = 4  # batches made ready ahead of the network


def evaluate(ranker: nn.Module, embed: Embed, source: Files, *, batch_size: int = 4096) -> dict[str, Any]:
    """Return the metrics of ``ranker`` on ``source``: see ``Metrics.compute``."""
    metrics = Metrics(embed.sample.tasks)
    for _, batch, scores in _scores(ranker, embed, source, batch_size, labels=True):
        assert batch.labels is not None
        weight = stands_for(embed.sample.tasks, batch)
        metrics.update(scores, batch.labels, weight, batch.group, batch.scene)
    return metrics.compute()


def predict(
    ranker: nn.Module, embed: Embed, source: Files, *, batch_size: int = 4096
) -> Iterator[pa.RecordBatch]:
    """Yield predictions in the source's order: a column a task, after the group, scene and time columns.

    A binary task's is a probability, a regression task's is seconds; float32. Label columns need not be
    there.
    """
    for records, _, scores in _scores(ranker, embed, source, batch_size, labels=False):
        columns = {name: records[name] for name in _keys(embed, source)}
        columns |= {name: pa.array(values) for name, values in _predictions(embed, scores).items()}
        yield pa.RecordBatch.from_pydict(columns)


def score(ranker: nn.Module, embed: Embed, batch: Batch) -> dict[str, Floats]:
    """Return the predictions of one batch by task, float32 ``[size]``: see ``predict``."""
    return _predictions(embed, logits(ranker, embed, batch))


def logits(ranker: nn.Module, embed: Embed, batch: Batch) -> Floats:
    """Return what ``ranker`` says of one batch, float32 ``[size, tasks]``: a logit, or log1p of seconds."""
    training = ranker.training
    ranker.eval()
    try:
        return _outputs(ranker, embed, batch)
    finally:
        ranker.train(training)


def _predictions(embed: Embed, scores: Floats) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    for index, task in enumerate(embed.sample.tasks):
        score = scores[:, index]
        with np.errstate(over="ignore"):  # a logit far below 0 is the probability 0
            value = 1 / (1 + np.exp(-score)) if task.kind == "binary" else np.expm1(np.maximum(score, 0))
        found[task.name] = value.astype(np.float32)
    return found


def _scores(
    ranker: nn.Module, embed: Embed, source: Files, batch_size: int, *, labels: bool
) -> Iterator[tuple[pa.RecordBatch, Batch, Floats]]:
    """Yield records, their batch and the ranker's outputs, float32 ``[B, tasks]``, in the source's order."""
    needed = embed.sample.columns
    if not labels:
        needed = tuple(name for name in needed if name not in embed.sample.label_columns)
        needed = tuple(dict.fromkeys((*needed, *_keys(embed, source))))
    training = ranker.training
    ranker.eval()
    try:
        with Ahead(_batches(embed, source, needed, batch_size, labels), _AHEAD) as batches:
            for records, batch in batches:
                yield records, batch, _outputs(ranker, embed, batch)
    finally:
        ranker.train(training)


def _outputs(ranker: nn.Module, embed: Embed, batch: Batch) -> Floats:
    with torch.inference_mode():
        outputs = ranker(embed(batch, train=False))
        check_outputs(outputs, batch.size, len(embed.sample.tasks))
        scores: Floats = outputs.float().cpu().numpy()
    return scores


def _batches(
    embed: Embed, source: Files, columns: tuple[str, ...], batch_size: int, labels: bool
) -> Generator[tuple[pa.RecordBatch, Batch], None, None]:
    with closing(source.stream(columns=columns, batch_size=batch_size, prefetch=_AHEAD)) as stream:
        for records in stream:
            yield records, embed.sample.transform(records, labels=labels)


def _keys(embed: Embed, source: Files) -> list[str]:
    sample = embed.sample
    keys = dict.fromkeys(key for key in (sample.group, sample.scene, sample.time) if key is not None)
    return [key for key in keys if key in source.schema.names]
