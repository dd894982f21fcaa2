"""Tasks: what is to be predicted and the column that tells it. Knows nothing of losses or metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from larix.batch import Floats, Ids
from larix.errors import ConfigError
from larix.features import kernels
from larix.features.records import ID, NUMBER, Records
from larix.features.slot import check_column


@dataclass(frozen=True, slots=True)
class Binary:
    """Did it happen? A boolean or numeric column of 0 and 1; null and NaN are a label not known.

    Named like its column.
    """

    column: str
    name: str = ""
    kind: ClassVar[Literal["binary"]] = "binary"

    def __post_init__(self) -> None:
        _name(self)


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long? A numeric column of milliseconds, not negative; the label is seconds.

    Null and NaN are a label not known.
    """

    column: str
    name: str = ""
    kind: ClassVar[Literal["regression"]] = "regression"

    def __post_init__(self) -> None:
        _name(self)


Task = Binary | Seconds


def _name(task: Task) -> None:
    check_column(task, task.column)
    if not isinstance(task.name, str):
        raise ConfigError(
            f"{type(task).__name__}('{task.column}') has name {task.name!r}; it must be a string"
        )
    object.__setattr__(task, "name", task.name or task.column)


def read_labels(tasks: tuple[Task, ...], records: Records) -> Floats:
    """Labels, float32 ``[size, tasks]``, NaN where not known. Raises DataError on a label that cannot be."""
    labels = np.empty((records.size, len(tasks)), np.float32)
    for index, task in enumerate(tasks):
        view = records.flat(task.column, NUMBER)
        values = kernels.read_numbers(view, None)
        if isinstance(task, Binary):
            wrong = ~((values == 0) | (values == 1) | np.isnan(values))
            why = "a binary label must be 0, 1 or null"
        else:
            wrong = (values < 0) | np.isinf(values)
            why = "a time must be finite, not negative, in milliseconds"
            values /= 1000
        if wrong.any():
            records.fail(task.column, view, int(np.argmax(wrong)), None, why)
        labels[:, index] = values
    return labels


def read_weight(column: str, records: Records) -> Floats:
    """Sample weights, float32 ``[size]``. Raises DataError on one that is null, NaN, infinite or negative."""
    view = records.flat(column, NUMBER)
    with np.errstate(over="ignore"):
        weight = kernels.read_numbers(view, None).astype(np.float32)
    wrong = ~(np.isfinite(weight) & (weight >= 0))
    if wrong.any():
        why = "a weight must be a finite number, not negative"
        records.fail(column, view, int(np.argmax(wrong)), None, why)
    return weight


def read_key(column: str, records: Records, what: str) -> Callable[[], Ids]:
    """Plan to read the group or scene of every sample as an id, int64 ``[size]``.

    Raises DataError on a null.
    """
    view = records.flat(column, ID)
    records.no_nulls(column, view, None, f"every sample must have a {what}; fill it or drop the row")
    return records.ids(column, view)
