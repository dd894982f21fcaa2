"""Tasks: what is to be predicted and the column that tells it. Knows nothing of losses or metrics."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from larix.errors import ConfigError
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
