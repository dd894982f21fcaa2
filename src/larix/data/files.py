"""Columnar files as one source of rows: which files, which columns, which days, in which order.

Rows come file by file, the files sorted by name. Knows nothing of shuffling, threads or what the columns
mean.
"""

import glob
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from larix.data.formats import SUFFIXES, File, open_file
from larix.data.span import Bound, Span, span
from larix.data.stream import Position, Stream
from larix.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files of the same columns, and the span of time wanted of them. Made by `files`."""

    paths: tuple[Path, ...]
    time: str = "time_ms"
    day: str | None = None
    utc_offset_hours: float = 0.0
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        if not self.paths:
            raise DataError("a source needs at least one file")
        if not -24 < self.utc_offset_hours < 24:
            raise ConfigError(f"utc_offset_hours must lie between -24 and 24, got {self.utc_offset_hours}")

    def between(self, first: Bound, last: Bound) -> "Files":
        """Only the rows from ``first`` to ``last``: two days, both included, or two times, the last excluded.

        Days are '2022-04-25' or a date, and are told by the ``day`` column, or else by ``time`` with
        midnight at ``utc_offset_hours``. Times are '2022-04-25T18:00' or a datetime; without a zone they
        are at ``utc_offset_hours``. None leaves a side open. Parquet row groups outside are not read.

        Raises:
            ConfigError: not two days or two times, or none between them.
            DataError: the column is not there.
        """
        wanted = span(first, last, time=self.time, day=self.day, utc_offset_hours=self.utc_offset_hours)
        self._need([wanted.column])
        return replace(self, spans=(*self.spans, wanted))

    def stream(
        self,
        *,
        columns: Sequence[str] | None = None,
        batch_size: int = 4096,
        shuffle: int = 0,
        seed: int = 0,
        epoch: int = 0,
        epochs: int = 1,
        prefetch: int = 4,
        position: Position | None = None,
    ) -> Stream:
        """Read the rows in batches, on threads that stay ahead of the consumer.

        Args:
            columns: which, in which order; None is all. Others are not read.
            batch_size: rows of a batch, across files; an epoch's last batch may be smaller.
            shuffle: rows of a window; each run of that many rows is permuted by (seed, epoch, window). 0
                keeps order.
            seed: of the shuffling.
            epoch: the number of the first epoch.
            epochs: how often to go over the rows.
            prefetch: batches made ahead of the consumer; 0 reads in the consumer's own thread.
            position: where an earlier stream of the same rows stood: go on with the batch after it.

        Raises:
            ConfigError: an argument is out of range, or ``position`` is of other files, days, shuffle or
                seed.
            DataError: a column is not there. While iterating: a file is damaged, lacks a column or has
                another type.
        """
        return Stream(
            self,
            columns=columns,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            epoch=epoch,
            epochs=epochs,
            prefetch=prefetch,
            position=position,
        )

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of the first file, which the others must have too."""
        return open_file(self.paths[0], self.types).schema.remove_metadata()

    @cached_property
    def rows(self) -> int:
        """The number of rows; reads no more than it must, the first time."""
        return sum(self._count(file, part) for file, part in self._parts(()))

    def batches(self, columns: Sequence[str] | None = None, *, skip: int = 0) -> Iterator[pa.RecordBatch]:
        """The rows in order, in batches of any size, but the first ``skip``; parts before are not decoded."""
        chosen = self.projection(columns)
        for file, part in self._parts(chosen.names):
            if skip:
                count = self._count(file, part)
                if count <= skip:
                    skip -= count
                    continue
            for batch in self._read(file, part, chosen):
                if len(batch) > skip:
                    yield batch.slice(skip)
                skip = max(0, skip - len(batch))

    def projection(self, columns: Sequence[str] | None) -> pa.Schema:
        """The schema of ``columns``, in their order; of all for None."""
        if columns is None:
            return self.schema
        if not columns:
            raise ConfigError("columns is empty; name the columns to read, or give None for all")
        self._need(columns)
        return pa.schema([self.schema.field(name) for name in columns])

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the files' names and sizes and the spans, so with the rows and their order."""
        try:
            seen = [[path.name, path.stat().st_size] for path in self.paths]
        except OSError as error:
            raise DataError(f"a file of the source is gone: {error}; find the files again") from error
        return hashlib.sha256(json.dumps([seen, repr(self.spans)]).encode()).hexdigest()[:32]

    def _need(self, columns: Sequence[str]) -> None:
        for name in columns:
            if name not in self.schema.names:
                there = ", ".join(self.schema.names)
                raise DataError(f"'{self.paths[0]}' has no column '{name}'; it has {there}")

    def _parts(self, columns: Sequence[str]) -> Iterator[tuple[File, int]]:
        """The parts that may hold wanted rows; their files have ``columns`` and those of the spans."""
        # CSV types are guessed file by file, so the first file's guess is what the others are read with.
        types = {**dict(zip(self.schema.names, self.schema.types, strict=True)), **self.types}
        for path in self.paths:
            file = open_file(path, types)
            self._check(
                file, {*columns, *(wanted.column for wanted in self.spans)} or set(self.schema.names[:1])
            )
            for part in range(file.parts):
                if all(self._covers(file, part, wanted) is not False for wanted in self.spans):
                    yield file, part

    def _check(self, file: File, columns: set[str]) -> None:
        for name in self.schema.names:
            if name not in columns:
                continue
            if name not in file.schema.names:
                there = ", ".join(file.schema.names)
                raise DataError(
                    f"'{file.path}' has no column '{name}' as '{self.paths[0]}' has; it has {there}; "
                    "read files of one schema together"
                )
            got, expected = file.schema.field(name).type, self.schema.field(name).type
            if got != expected:
                raise DataError(
                    f"column '{name}' is {got} in '{file.path}' but {expected} in '{self.paths[0]}'; "
                    "read files of one schema together"
                )

    def _covers(self, file: File, part: int, wanted: Span) -> bool | None:
        found = file.range(part, wanted.column)
        return None if found is None else wanted.covers(file.schema.field(wanted.column).type, *found)

    def _count(self, file: File, part: int) -> int:
        rows = file.rows(part)
        if rows is not None and all(self._covers(file, part, wanted) for wanted in self.spans):
            return rows
        some = self.spans[0].column if self.spans else self.schema.names[0]
        return sum(len(batch) for batch in self._read(file, part, pa.schema([self.schema.field(some)])))

    def _read(self, file: File, part: int, chosen: pa.Schema) -> Iterator[pa.RecordBatch]:
        spans = [wanted for wanted in self.spans if not self._covers(file, part, wanted)]
        extra = [wanted.column for wanted in spans if wanted.column not in chosen.names]
        for batch in file.read(part, [*chosen.names, *dict.fromkeys(extra)]):
            for wanted in spans:
                values = batch[wanted.column]
                if values.null_count:
                    raise DataError(
                        f"column '{wanted.column}' of '{file.path}' has nulls: which rows lie between "
                        "the days asked for cannot be told; drop those rows or leave out between()"
                    )
                batch = batch.filter(wanted.mask(values))
            if len(batch):
                yield pa.RecordBatch.from_arrays([batch[name] for name in chosen.names], schema=chosen)


def files(
    where: str | Path | Sequence[str | Path],
    *,
    time: str = "time_ms",
    day: str | None = None,
    utc_offset_hours: float = 0.0,
    types: Mapping[str, pa.DataType] | None = None,
) -> Files:
    """Find files of columns (Parquet, Arrow IPC files and streams, CSV, TSV), sorted by name.

    Args:
        where: a file, a folder (all such files in it), a pattern like ``logs/2022-*/*.parquet``, or a list
            of these.
        time: the column of time: int64 milliseconds since the epoch, or a timestamp.
        day: a column that says each row's day, as 20220425 or date32, where days are not those of ``time``.
        utc_offset_hours: the time zone that days begin in, where they are told by ``time``.
        types: types of columns of CSV files; the others are those of the first block of the first file.

    Raises:
        DataError: nothing is there, or a file is of no known kind.
    """
    found: set[Path] = set()
    for item in [where] if isinstance(where, str | Path) else where:
        found.update(_found(Path(item)))
    for path in found:
        open_file(path, {})
    return Files(
        paths=tuple(sorted(found)), time=time, day=day, utc_offset_hours=utc_offset_hours, types=types or {}
    )


def _found(item: Path) -> list[Path]:
    if item.is_file():
        return [item]
    if item.is_dir():
        inside = [path for path in item.iterdir() if path.is_file() and path.name.lower().endswith(SUFFIXES)]
        found = [path for path in inside if not path.name.startswith((".", "_"))]
    else:
        found = [Path(name) for name in glob.glob(str(item), recursive=True) if Path(name).is_file()]
    if not found:
        raise DataError(
            f"no file matches '{item}'; give a file, a folder of {', '.join(SUFFIXES)} or a pattern"
        )
    return found
