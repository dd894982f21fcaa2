"""A run exported as a bundle: its ranker as a graph, its rows, and logged samples of its test days with what it says of them.

Knows a run and its recipe; knows nothing of what is in a bundle's files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console

from larix.batch import Floats
from larix.compile import BUCKETS, Backend, Bound, Graph, OpenVINO, Precision, Samples, choose
from larix.embedding import Replica, storage
from larix.embedding.quantize import Format
from larix.errors import ConfigError
from larix.features import Id
from larix.model.embed import Embed
from larix.recipes.compiled import compile_ranker, logged_samples
from larix.recipes.pages import Pages
from larix.recipes.run import open_run, recipe_of
from larix.serve.bundle import Bundle
from larix.serve.export import Contents, HeldOut, Training
from larix.serve.export import export as write_bundle
from larix.serve.lookups import Lookups
from larix.serve.parity import BOUND
from larix.serve.signature import Signature, signature_of
from larix.serve.warm import Warm, crossed
from larix.train import Run, checkpoint
from larix.train.evaluate import logits

_HELD_OUT = 4096  # samples that lower precision is judged on
_AUC_LOSS = 0.0005  # unless it is told
_CALIBRATION = 0.01  # the share by which the mean probability may move
_SHARE = 0.9  # of what may be lost that products are chosen by: a back-end rounds a little otherwise


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """How a run is exported. ``model``: its name; the run folder's if empty.

    ``precision``: of rows. ``auc_loss``: compute products in bf16 and int8 that may cost at most so much AUC, and 1% of
    calibration, on the test days; None: all in fp32. Rows in less than fp32 are held to that bound, too, .0005 if not told.
    ``bound``: of a logit where all is fp32. Up to ``requests`` of ``candidates`` each are warm-up samples.
    """

    model: str = ""
    precision: Format = "fp32"
    auc_loss: float | None = None
    bound: float = BOUND
    backend: Backend | None = None
    buckets: Sequence[int] = BUCKETS
    requests: int = 256
    candidates: int = 8

    def __post_init__(self) -> None:
        if self.requests < 1 or self.candidates < 1:
            raise ConfigError(
                f"Export has {self.requests} requests of {self.candidates} candidates; it needs 1 or more of each"
            )


def export_run(folder: Path, to: Path, console: Console, how: Export | None = None) -> Bundle:
    """Export the newest version of the run in ``folder``, made by a recipe, to ``to``; see ``export``.

    ConfigError if its recipe does not say how scores become pages, which tells what belongs to an item.
    """
    run, config = open_run(folder)
    pages = recipe_of(config).pages
    if pages is None:
        raise ConfigError(
            f"the recipe of '{folder}' does not say which columns are the items'; give its Recipe a pages=Pages(...)"
        )
    return export(run, pages, logged_samples(run, folder, console, _HELD_OUT), to, how)


def export(
    run: Run, pages: Pages, records: pa.RecordBatch, to: str | Path, how: Export | None = None
) -> Bundle:
    """Export the newest version of ``run``, as it was opened, to the folder ``to``; see ``serve.export``.

    ``records``: logged samples that it was not trained on, labels included, to compare serving with training on.
    ConfigError if ``pages`` do not fit the run's sample.
    """
    how = how or Export()
    pages.check(run.sample)
    found, name = checkpoint.load(run.folder / "versions"), run.folder.absolute().name
    assert found is not None
    signature = signature_of(
        run.sample, records.schema, item=_column_of(run, pages), candidates=pages.columns
    )
    compiled = compile_ranker(run, signature.per_request)
    tables = found.path / "tables"
    limit = Bound(auc_loss=_AUC_LOSS if how.auc_loss is None else how.auc_loss, calibration=_CALIBRATION)
    products, judged = Precision(), None
    if how.auc_loss is not None or how.precision != "fp32":
        labels = run.sample.transform(records).labels
        assert labels is not None
        judged = HeldOut(warm=_warm(run, signature, records, 1), labels=labels, bound=limit)
    if how.auc_loss is not None:
        assert judged is not None
        kinds = (how.backend or OpenVINO()).kinds
        arrays = _served(run, signature, compiled.after, records, tables, how.precision)
        samples = Samples(arrays=arrays, labels=judged.labels, exact=judged.warm.logits[:, 0])
        products = choose(
            compiled.after,
            samples,
            Bound(auc_loss=_SHARE * how.auc_loss, calibration=_SHARE * _CALIBRATION),
            [kind for kind in ("int8", "bf16") if kind in kinds],
        )
    snapshot = storage.read(tables)
    online = found.state["history"].get("online", {})
    return write_bundle(
        Contents(
            model=how.model or name,
            version=found.path.name,
            training=Training(
                run=name,
                step=found.point.step,
                history=online.get("history", snapshot.instant.history),
                sequence=snapshot.instant.sequence,
                mark=online.get("mark", 0),
                event_ms=online.get("event_ms", 0),
            ),
            sample=run.sample,
            signature=signature,
            value=pages.value,
            diversity=pages.diversity,
            vectors=pages.item,
            graph=compiled.before,
            snapshot=snapshot,
            warm=_warm(run, signature, _some(records, how.requests), how.candidates),
        ),
        to,
        precision=how.precision,
        products=products,
        backend=how.backend,
        buckets=how.buckets,
        bound=how.bound,
        held_out=judged,
    )


def _column_of(run: Run, pages: Pages) -> str:
    feature = run.sample.features[pages.item]
    if not isinstance(feature, Id):
        raise ConfigError(
            f"slot '{pages.item}' is {feature!r}, which names no items; let pages speak of an Id of a column"
        )
    return feature.column


def _some(records: pa.RecordBatch, most: int) -> pa.RecordBatch:
    """Up to ``most`` of them, from first to last."""
    return records.take(pa.array(np.unique(np.linspace(0, len(records) - 1, most).astype(np.int64))))


def _served(
    run: Run, signature: Signature, graph: Graph, records: pa.RecordBatch, tables: Path, precision: Format
) -> dict[str, NDArray[Any]]:
    """The inputs of a hoisted graph as serving finds them over rows in ``precision``, each sample a request of its own."""
    saved = storage.read(tables)
    replica = Replica(list(saved.specs.values()), precision=precision)
    replica.replace(saved)
    found: dict[str, NDArray[Any]] = {}
    with replica.reading() as rows:
        for half, mine in zip(signature.halves(run.sample), (True, False), strict=True):
            inputs = [each for each in graph.inputs if each.per_request == mine]
            found |= Lookups(half, inputs).find(half.transform(records, labels=False), rows)[0]
    return {each.name: found[each.name] for each in graph.inputs}


def _warm(run: Run, signature: Signature, records: pa.RecordBatch, candidates: int) -> Warm:
    """Requests of ``candidates`` items each, and what the run's own ranker says of them in eager torch."""
    logged = records.select([name for name in run.sample.columns if name not in run.sample.label_columns])
    batch = run.sample.transform(crossed(logged, signature, candidates), labels=False)
    found: Floats = logits(run.ranker, Embed(run.sample, run.tables), batch)
    return Warm(logged, found.reshape(len(logged), candidates, -1))
