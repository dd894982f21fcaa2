"""An answer as the page that people read: plain JSON, items best first. Knows nothing of what was asked, nor of HTTP."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa

from larix.batch import Ids
from larix.serve.columns import PLAIN, page_json
from larix.serve.request import Answer, Request, Stamp
from larix.serve.service import Columns

_NUMBERS = {  # those that int64 holds, by the number of their Arrow type
    dtype.id: np.dtype(dtype.to_pandas_dtype())
    for dtype in PLAIN.values()
    if pa.types.is_integer(dtype) and dtype != pa.uint64()
}


class Item(msgspec.Struct, omit_defaults=True):
    """An item of the page. ``position``: from 0. ``why``: where its value comes from, if it was asked for."""

    item: int | float | str | bool | None
    position: int
    value: float
    scores: dict[str, float]
    why: dict[str, Any] | None = None


class State(msgspec.Struct, kw_only=True):
    """Which state of the model answered: sequence numbers of rows and network, and the latest event time in the rows."""

    history: str
    rows: int
    dense: int
    event_ms: int


class Page(msgspec.Struct, kw_only=True):
    """What `/v1/rank` answers: items best first. ``missing``: by slot or column, values not given or not known."""

    id: str
    model: str
    version: str
    stamp: State
    items: list[Item]
    missing: dict[str, int]


def page_of(answer: Answer, request: Request, columns: Columns, missing: Mapping[str, int]) -> Page:
    """The answer in plain words. ``missing``: what was not given, beside what the answer says of it."""
    items = request.candidates.column(columns.item)
    numbers = _NUMBERS.get(columns.typed[1][columns.item].id)
    shown = _written(answer, items, numbers) if answer.explanation is None else _explained(answer, items)
    return Page(
        id=answer.id,
        model=answer.stamp.model,
        version=answer.stamp.version,
        stamp=state_of(answer.stamp),
        items=shown,
        missing={name: count for name, count in {**missing, **answer.missing}.items() if count},
    )


def state_of(stamp: Stamp) -> State:
    """A stamp in plain words."""
    return State(history=stamp.history, rows=stamp.rows, dense=stamp.dense, event_ms=stamp.event_ms)


def _written(answer: Answer, items: pa.Array, numbers: np.dtype[Any] | None) -> list[Item]:
    """The items as the text that they will be: nothing is made of each."""
    text = page_json(
        _named(items, answer.order, numbers),
        answer.order,
        answer.value,
        list(answer.predictions.values()),
        _names(tuple(answer.predictions)),
    )
    return cast(list[Item], msgspec.Raw(text))


@lru_cache
def _names(tasks: tuple[str, ...]) -> list[bytes]:
    return [msgspec.json.encode(name) + b":" for name in tasks]


def _named(items: pa.Array, order: Ids, numbers: np.dtype[Any] | None) -> Ids | list[bytes]:
    """What names the candidates at ``order``, of which there is one each: numbers of a type, or JSON."""
    if numbers is None or items.null_count:
        return list(map(msgspec.json.encode, items.take(order).to_pylist()))
    # As they lie: pyarrow's own way to numpy takes ten times as long.
    ids = np.frombuffer(items.buffers()[1], numbers, len(items), items.offset * numbers.itemsize)
    return cast(Ids, ids[order].astype(np.int64, copy=False))


def _explained(answer: Answer, items: pa.Array) -> list[Item]:
    assert answer.explanation is not None
    order, tasks = answer.order, answer.predictions
    scores = zip(*(array[order].tolist() for array in tasks.values()), strict=True)
    shown = (  # of all items, part by part: nothing here is looked at item by item
        items.take(order).to_pylist(),
        range(len(order)),
        answer.value[order].tolist(),
        [dict(zip(tasks, each, strict=True)) for each in scores],
        map(answer.explanation.item, order.tolist()),
    )
    return list(map(Item, *shown))
