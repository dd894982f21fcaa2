"""fit: quantile edges, means and stds in one streaming pass of bounded memory.

Knows which features have something to find; writes it into new declarations and changes none.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from larix.errors import DataError
from larix.features import kernels
from larix.features.bucket import Bucket
from larix.features.dense import Dense, Missing
from larix.features.kernels import Flat, Numbers, Ranges
from larix.features.records import NUMBER, Records
from larix.features.sequence import Sequence

RESERVOIR = 1_000_000
"""Values that quantiles come from at most (8 MB): exact up to there, of a random sample beyond."""


class Moments:
    """Mean and standard deviation of a stream, merged block by block (Chan, Golub and LeVeque, 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, values: Numbers) -> None:
        """Take in a block of finite values."""
        if not len(values):
            return
        mean = float(values.mean())
        count = self.count + len(values)
        delta, share = mean - self.mean, len(values) / count
        self._squares += float(np.square(values - mean).sum()) + delta * delta * self.count * share
        self.mean += delta * share
        self.count = count

    @property
    def std(self) -> float:
        """Of the values as a population."""
        return float(np.sqrt(self._squares / self.count))


class Reservoir:
    """A uniform random sample of a stream, at most ``size`` values, seeded: algorithm R (Vitter, 1985)."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.count = 0
        self._kept = np.empty(size)
        self._random = np.random.default_rng(seed)

    def add(self, values: Numbers) -> None:
        """Take in a block of values."""
        size, seen = len(self._kept), self.count
        room = min(max(size - seen, 0), len(values))
        self._kept[seen : seen + room] = values[:room]
        # The k-th value of the stream replaces a random one of the kept with probability size / k.
        places = self._random.integers(0, np.arange(seen + room, seen + len(values)) + 1)
        chosen = places < size
        self._kept[places[chosen]] = values[room:][chosen]
        self.count += len(values)

    @property
    def values(self) -> Numbers:
        """What is kept."""
        return self._kept[: self.count]


Gathered = Moments | Reservoir
Part = Bucket | Dense


def fit(features: Mapping[str, Any], batches: Iterable[pa.RecordBatch]) -> dict[str, Any]:
    """``features`` with the quantile edges, means and stds found on ``batches``.

    Nulls and NaN are left out; of sequences the newest elements count, as in a transform. What was fitted
    before is found anew. Quantiles come from at most RESERVOIR values a feature. With nothing to find,
    ``batches`` is not read.

    Raises DataError on data that a transform would refuse, and on a feature that saw no value at all.
    """
    learners: dict[str, tuple[Part, int | None, Gathered]] = {}
    for name, part, newest in _parts(features):
        if isinstance(part, Bucket) and part.quantiles is not None:
            learners[name] = part, newest, Reservoir(RESERVOIR)
        elif isinstance(part, Dense) and (part.standardise or part.missing == "mean"):
            learners[name] = part, newest, Moments()
    if not learners:
        return dict(features)
    for batch in batches:
        for part, newest, gathered in learners.values():
            records = Records(batch)
            if newest is None:
                gathered.add(_values(part, records, records.flat(part.column, NUMBER), None))
            else:
                lists = records.lists(part.column, NUMBER)
                gathered.add(_values(part, records, lists.child, records.ranges(part.column, lists, newest)))
    found = {name: _found(name, part, gathered) for name, (part, _, gathered) in learners.items()}
    fitted: dict[str, Any] = {}
    for name, feature in features.items():
        if isinstance(feature, Sequence):
            parts = feature.elements.items()
            elements: dict[str, Any] = {e: found.get(f"{name}.{e}", part) for e, part in parts}
            fitted[name] = Sequence(newest=feature.newest, **elements)
        else:
            fitted[name] = found.get(name, feature)
    return fitted


def _parts(features: Mapping[str, Any]) -> Iterator[tuple[str, Any, int | None]]:
    """Every feature and sequence element by its full name; for an element also its sequence's ``newest``."""
    for name, feature in features.items():
        if isinstance(feature, Sequence):
            for element, part in feature.elements.items():
                yield f"{name}.{element}", part, feature.newest
        else:
            yield name, feature, None


def _values(part: Part, records: Records, view: Flat, ranges: Ranges | None) -> Numbers:
    """The values to learn from: those known, through clip and log1p where the feature has them."""
    numbers = kernels.read_numbers(view, ranges)
    if isinstance(part, Bucket):
        return numbers[np.isfinite(numbers)]
    # A transform's own reading raises its errors; its results are float32, but moments want all the digits.
    missing: Missing = "error" if part.missing == "error" else 0.0
    plain = dataclasses.replace(part, standardise=False, missing=missing, mean=None, std=None)
    check = plain.write(records, view, ranges, np.empty((len(numbers), 1), np.float32), 0)
    records.reads.run(1)
    check()
    numbers = numbers[~np.isnan(numbers)]
    if part.clip is not None:
        numbers = np.clip(numbers, *part.clip)
    return np.log1p(numbers) if part.transform == "log1p" else numbers


def _found(name: str, part: Part, gathered: Gathered) -> Part:
    if gathered.count == 0:
        raise DataError(
            f"'{name}': column '{part.column}' held no value to fit on; fit on more data or drop it"
        )
    if isinstance(gathered, Moments):
        assert isinstance(part, Dense)
        return dataclasses.replace(part, mean=gathered.mean, std=gathered.std)
    assert isinstance(part, Bucket)
    assert part.quantiles is not None
    edges = np.unique(np.quantile(gathered.values, np.arange(1, part.quantiles) / part.quantiles))
    return dataclasses.replace(part, edges=tuple(edges.tolist()))
