"""Dense: a number the network reads as it is, after a transform. Knows nothing of how means are fitted."""

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from larix.batch import Floats
from larix.errors import ConfigError
from larix.features.kernels import Fill, Flat, How, Ranges
from larix.features.records import NUMBER, Records
from larix.features.slot import check_column, check_number

Transform = Literal["none", "log1p"]
Missing = float | Literal["mean", "error"]


@dataclass(frozen=True, slots=True)
class Dense:
    """One float32: the value clipped, then transformed, then ``(x - mean) / std`` if ``standardise``.

    ``missing`` says what a null or NaN is: a number stands for the value itself and goes the same way;
    ``"mean"`` is the fitted mean of the transformed values; ``"error"`` raises. An end of ``clip`` may be
    None. Infinite values, and values of -1 or less under log1p, raise. ``mean`` and ``std`` are fitted by
    ``Sample.fit``; a std of 0 divides by 1.
    """

    column: str
    _: KW_ONLY
    transform: Transform = "none"
    clip: tuple[float | None, float | None] | None = None
    standardise: bool = False
    missing: Missing = 0.0
    mean: float | None = None
    std: float | None = None

    def __post_init__(self) -> None:
        check_column(self, self.column)
        name = f"Dense('{self.column}')"
        if self.transform not in ("none", "log1p"):
            raise ConfigError(f"{name} has transform {self.transform!r}; use 'none' or 'log1p'")
        if not isinstance(self.standardise, bool):
            raise ConfigError(f"{name} has standardise={self.standardise!r}; use True or False")
        if self.clip is not None:
            if not isinstance(self.clip, tuple | list) or len(self.clip) != 2:
                raise ConfigError(
                    f"{name} has clip={self.clip!r}; give a pair (low, high), None for an open end"
                )
            low, high = (None if end is None else check_number(name, "clip", end) for end in self.clip)
            if low is not None and high is not None and low > high:
                raise ConfigError(f"{name} has clip={self.clip}; the low end is above the high one")
            object.__setattr__(self, "clip", (low, high))
        if isinstance(self.missing, str):
            if self.missing not in ("mean", "error"):
                raise ConfigError(f"{name} has missing={self.missing!r}; use a number, 'mean' or 'error'")
        else:
            object.__setattr__(self, "missing", check_number(name, "missing", self.missing))
            if self.transform == "log1p" and self._clipped(float(self.missing)) <= -1:
                raise ConfigError(f"{name} has missing={self.missing}; under log1p it must be above -1")
        for key in ("mean", "std"):
            if getattr(self, key) is not None:
                object.__setattr__(self, key, check_number(name, key, getattr(self, key)))
        if (self.mean is None) != (self.std is None) or (self.std is not None and self.std < 0):
            raise ConfigError(
                f"{name} has mean={self.mean} and std={self.std}; give both, std not negative, or neither"
            )

    def _clipped(self, value: float) -> float:
        low, high = self.clip or (None, None)
        value = value if low is None else max(low, value)
        return value if high is None else min(high, value)

    @property
    def columns(self) -> tuple[str, ...]:
        """Input columns it reads."""
        return (self.column,)

    @property
    def is_fitted(self) -> bool:
        """Whether mean and std are known or not needed."""
        return self.mean is not None or not (self.standardise or self.missing == "mean")

    @property
    def how(self) -> How:
        """What is done with a number, once fitted."""
        low, high = self.clip or (None, None)
        mean, std = (self.mean or 0.0, self.std or 1.0) if self.standardise else (0.0, 1.0)
        fill: Fill = "value"
        if isinstance(self.missing, float):
            fill_value = self.missing
        else:
            # The mean of standardised values is 0.
            fill, fill_value = self.missing, 0.0 if self.standardise else self.mean or 0.0
        return How(
            clip=(-math.inf if low is None else low, math.inf if high is None else high),
            log=self.transform == "log1p",
            mean=mean,
            std=std,
            fill=fill,
            fill_value=fill_value,
        )

    def read(self, records: Records, out: Floats, index: int) -> Callable[[], int]:
        """Plan to write its numbers to ``out[:, index]``, once fitted; see ``write``."""
        return self.write(records, records.flat(self.column, NUMBER), None, out, index)

    def write(
        self, records: Records, view: Flat, ranges: Ranges | None, out: Floats, index: int
    ) -> Callable[[], int]:
        """Plan to write a column, or ``ranges`` of a list column's elements, to ``out[:, index]``.

        Called after the run, gives the count of nulls and NaN. Raises DataError on a number that cannot be.
        """
        number = records.reads.dense(view, ranges, out, index, **self.how)

        def done() -> int:
            wrong, at, missing = records.reads.status(number)
            if wrong:
                records.fail(self.column, view, at, ranges, _FAULTS[wrong])
            return missing

        return done


_FAULTS = (
    "",
    "a dense value must be finite, as a float32 too; clip it or repair the data",
    "log1p needs values above -1; give a clip=(0, None)",
    "missing='error' asks for a value; repair the data, or give missing a number or 'mean'",
)
