"""Pages as a run's scores would make them: candidates of past impressions, what diversity costs and what it brings.

Knows nothing of how a ranker is trained.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.batch import Jagged
from larix.data import Files
from larix.errors import ConfigError, DataError
from larix.features import Sample
from larix.feed import Diversity, ValueModel
from larix.feed.tradeoff import Request, settings, trade_off
from larix.train import Run

_READ = 1 << 15  # impressions that are held in memory, at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages:
    """What makes pages of a recipe's scores.

    ``item``: the slot of one id a sample that tells items; the rows of its table are their vectors. ``columns``: the
    input columns that belong to the item, all others to the request. ``categories``: slots of which a page is to
    show many. ``diversity``: how a page is chosen where it is served; None: by value alone.
    """

    value: ValueModel
    item: str
    columns: tuple[str, ...]
    categories: tuple[str, ...] = ()
    diversity: Diversity | None = None

    def check(self, sample: Sample) -> None:
        """Raise ConfigError if ``sample`` has no such slot, column or task."""
        self.value.check([task.name for task in sample.tasks])
        for slot in (self.item, *self.categories):
            if slot not in sample.id_slots:
                raise ConfigError(
                    f"pages speak of slot '{slot}', but the sample's are {sorted(sample.id_slots)}"
                )
        unknown = sorted(set(self.columns) - set(sample.columns))
        if unknown:
            raise ConfigError(f"pages speak of columns {unknown}, which the sample does not read")


def requests(
    run: Run, source: Files, pages: Pages, *, asked: int = 100, candidates: int = 200, seed: int = 0
) -> list[Request]:
    """Return up to ``asked`` requests, scored.

    Each is an impression from the later half of the source's first rows: its user, time and scene. Its candidates are
    up to ``candidates`` different items, at random among all that anyone was shown before it in the source, each as it
    was when it was shown last. DataError if the source has too few rows.
    """
    pages.check(run.sample)
    table = _read(run.sample, source)
    whole = run.sample.transform(_batch(table), labels=False)
    jagged = whole.ids[pages.item]
    if jagged.offsets is not None and (np.diff(jagged.offsets) != 1).any():
        raise ConfigError(f"slot '{pages.item}' does not hold one id a sample, so that it cannot tell items")
    random = np.random.default_rng(seed)
    rows = len(table)
    if rows < 2:
        raise DataError(f"the source has {rows} rows; requests need an impression and others before it")
    chosen = np.sort(random.choice(np.arange(max(1, rows // 2), rows), min(asked, rows // 2), replace=False))
    return [_request(run, table, pages, jagged.values, int(row), candidates, random) for row in chosen]


def diversity(
    run: Run, source: Files, pages: Pages, *, count: int = 10, window: int | None = 5, **more: Any
) -> dict[str, Any]:
    """Return ``diversity`` of the report: what pages of ``count`` items are like by each method and setting.

    ``more``: see ``requests``.
    """
    found = requests(run, source, pages, **more)
    return {
        "page": count,
        "window": window,
        "requests": len(found),
        "candidates": max(len(request.relevance) for request in found),
        "vectors": pages.item,
        "curves": {name: _curve(found, methods, count) for name, methods in settings(window).items()},
    }


def _curve(found: Sequence[Request], methods: Sequence[Diversity], count: int) -> list[dict[str, Any]]:
    return [
        {"setting": repr(method)} | asdict(outcome) for method, outcome in trade_off(found, methods, count)
    ]


def _read(sample: Sample, source: Files) -> pa.Table:
    columns = tuple(name for name in sample.columns if name not in sample.label_columns)
    batches, rows = [], 0
    with source.stream(columns=columns) as stream:
        for records in stream:
            batches.append(records)
            rows += len(records)
            if rows >= _READ:
                break
    return pa.Table.from_batches(batches) if batches else pa.table({name: [] for name in columns})


def _request(
    run: Run,
    table: pa.Table,
    pages: Pages,
    ids: NDArray[np.int64],
    row: int,
    most: int,
    random: np.random.Generator,
) -> Request:
    items, back = np.unique(ids[:row][::-1], return_index=True)
    last = row - 1 - back
    taken = random.permutation(len(items))[:most]
    of_items = table.take(last[taken])
    of_request = table.take(np.full(len(taken), row))
    columns = {name: (of_items if name in pages.columns else of_request)[name] for name in table.column_names}
    batch = run.sample.transform(_batch(pa.table(columns)), labels=False)
    predictions = run.score(batch)
    scene = None if batch.scene is None else int(batch.scene[0])
    value = pages.value.value({name: predictions[name] for name in pages.value.tasks}, scene)
    return Request(
        relevance=value.astype(np.float32),
        vectors=run.tables.lookup(run.sample.id_slots[pages.item].table, items[taken]),
        categories={name: _plain(batch.ids[name]) for name in pages.categories},
    )


def _plain(jagged: Jagged) -> Jagged:
    return Jagged(jagged.values, jagged.offsets)


def _batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
