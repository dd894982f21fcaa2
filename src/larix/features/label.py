"""Tasks: what is to be predicted and the column that tells it. Knows nothing of losses or metrics."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from larix.batch import Batch, Floats, Ids
from larix.errors import ConfigError
from larix.features import kernels
from larix.features.records import ID, NUMBER, Records
from larix.features.slot import check_column


@dataclass(frozen=True, slots=True)
class Binary:
    """Did it happen? A boolean or numeric column of 0 and 1; null and NaN are a label not known.

    Named like its column. ``rate``: the column that says at what rate, above 0 and up to 1, samples for which it did not
    happen were kept, where a stream was down-sampled so; it is said of every sample, those for which it happened included.
    Training sets that right, see ``model.loss.Loss``; serving needs neither the column nor a correction.
    """

    column: str
    name: str = ""
    rate: str = ""
    kind: ClassVar[Literal["binary"]] = "binary"

    def __post_init__(self) -> None:
        _name(self)
        if self.rate:
            check_column(self, self.rate)


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


def rated(tasks: Iterable[Task]) -> int | None:
    """Which of ``tasks`` has its negatives down-sampled; None if none has."""
    return next((at for at, task in enumerate(tasks) if isinstance(task, Binary) and task.rate), None)


def rate_column(tasks: Iterable[Task]) -> str:
    """The column that says at what rate negatives were kept; "" if none were dropped."""
    return next((task.rate for task in tasks if isinstance(task, Binary) and task.rate), "")


def stands_for(tasks: Iterable[Task], batch: Batch) -> Floats | None:
    """How many samples of the whole stream each of a batch stands for, its weight included: float32 ``[size]``.

    A sample for which the down-sampled task did not happen stands for ``1 / rate``. None where each stands for itself.
    """
    at = rated(tasks)
    if at is None or batch.rate is None or batch.labels is None:
        return batch.weight
    standing = np.where(batch.labels[:, at] == 0, 1 / batch.rate, np.float32(1)).astype(np.float32)
    return standing if batch.weight is None else standing * batch.weight


def read_rate(column: str, records: Records) -> Floats:
    """Rates at which negatives were kept, float32 ``[size]``. Raises DataError on one that is not in (0, 1]."""
    view = records.flat(column, NUMBER)
    rate = kernels.read_numbers(view, None).astype(np.float32)
    wrong = ~((rate > 0) & (rate <= 1))
    if wrong.any():
        why = "a rate at which negatives were kept must be above 0 and at most 1"
        records.fail(column, view, int(np.argmax(wrong)), None, why)
    return rate


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
