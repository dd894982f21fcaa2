"""One file of columns, read part by part: Parquet, Arrow IPC or CSV. Knows nothing of days or other files."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from larix.errors import DataError

SUFFIXES = (".parquet", ".pq", ".arrow", ".arrows", ".feather", ".ipc", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
_ROWS = 16384
_CSV_BLOCK = 4 << 20


class File(ABC):
    """A file as a run of parts, each of which can be read by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """All columns."""

    @property
    def parts(self) -> int:
        """The number of parts."""
        return 1

    def rows(self, part: int) -> int | None:
        """Rows of a part where the file says so without being read."""
        return None

    def range(self, part: int, column: str) -> tuple[object, object] | None:
        """Least and most value of a column in a part, where the file says so and there are no nulls."""
        return None

    @abstractmethod
    def read(self, part: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a part, in order, with ``columns`` in their order; a part's memory stays bounded."""


class Parquet(File):
    """Parts are row groups; checksums of pages are verified where the file has them."""

    @cached_property
    def _metadata(self) -> pq.FileMetaData:
        with _reading(self.path, "Parquet"):
            return pq.read_metadata(self.path)

    @cached_property
    def schema(self) -> pa.Schema:
        """All columns."""
        with _reading(self.path, "Parquet"):
            return self._metadata.schema.to_arrow_schema()

    @cached_property
    def _leaves(self) -> dict[str, int]:
        group = self._metadata.schema
        return {group.column(at).path: at for at in range(len(group))}

    @property
    def parts(self) -> int:
        """The number of row groups."""
        return int(self._metadata.num_row_groups)

    def rows(self, part: int) -> int | None:
        """Rows of a row group."""
        return int(self._metadata.row_group(part).num_rows)

    def range(self, part: int, column: str) -> tuple[object, object] | None:
        """Least and most value by the row group's statistics."""
        if column not in self._leaves:
            return None
        found = self._metadata.row_group(part).column(self._leaves[column]).statistics
        if found is None or not found.has_min_max or not found.has_null_count or found.null_count:
            return None
        return found.min, found.max

    def read(self, part: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a row group."""
        with (
            _reading(self.path, "Parquet"),
            pq.ParquetFile(self.path, metadata=self._metadata, page_checksum_verification=True) as file,
        ):
            for batch in file.iter_batches(_ROWS, row_groups=[part], columns=list(columns)):
                yield batch.select(columns)


class Ipc(File):
    """An Arrow IPC file or stream, which of the two is told by its first bytes."""

    @contextmanager
    def _open(
        self, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        with _reading(self.path, "Arrow IPC"), pa.OSFile(str(self.path)) as source:
            framed = source.read(6) == b"ARROW1"
            source.seek(0)
            fields = None if columns is None else [self.schema.get_field_index(name) for name in columns]
            options = pa.ipc.IpcReadOptions(included_fields=fields)
            if framed:
                with pa.ipc.open_file(source, options=options) as file:
                    yield file.schema, (file.get_batch(at) for at in range(file.num_record_batches))
            else:
                with pa.ipc.open_stream(source, options=options) as stream:
                    yield stream.schema, iter(stream)

    @cached_property
    def schema(self) -> pa.Schema:
        """All columns."""
        with self._open() as (schema, _):
            return schema

    def read(self, part: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of the file."""
        with self._open(columns) as (_, batches):
            for batch in batches:
                batch.validate(full=True)  # IPC has no checksums: a damaged offset must not reach native code
                chosen = batch.select(columns)
                for at in range(0, len(chosen), _ROWS):
                    yield chosen.slice(at, _ROWS)


class Csv(File):
    """CSV or tab-separated text with a header line, gzipped or not; types are those of its first block."""

    def __init__(self, path: Path, types: Mapping[str, pa.DataType]) -> None:
        super().__init__(path)
        self._types = types

    @contextmanager
    def _open(self, columns: Sequence[str] | None = None) -> Iterator[pcsv.CSVStreamingReader]:
        tabs = ".tsv" in self.path.suffixes
        types = (
            self._types if columns is None else dict(zip(self.schema.names, self.schema.types, strict=True))
        )
        with _reading(self.path, "CSV"), pa.input_stream(str(self.path), compression="detect") as source:
            yield pcsv.open_csv(
                source,
                read_options=pcsv.ReadOptions(block_size=_CSV_BLOCK),
                parse_options=pcsv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True),
                convert_options=pcsv.ConvertOptions(include_columns=columns, column_types=types),
            )

    @cached_property
    def schema(self) -> pa.Schema:
        """All columns; one that is empty in the first block is taken for text."""
        with self._open() as reader:
            found: pa.Schema = reader.schema
        return pa.schema(
            [field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in found]
        )

    def read(self, part: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of the file."""
        with self._open(columns) as reader:
            for batch in reader:
                for at in range(0, len(batch), _ROWS):
                    yield batch.slice(at, _ROWS)


def open_file(path: Path, types: Mapping[str, pa.DataType]) -> File:
    """The file of columns at ``path``, by its suffix; ``types`` are those of columns of a CSV file.

    Raises:
        DataError: a suffix that is none of `SUFFIXES`.
    """
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise DataError(f"'{path}' is no file of columns by its name; one of {', '.join(SUFFIXES)} is read")
    if name.endswith((".parquet", ".pq")):
        return Parquet(path)
    if name.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz")):
        return Csv(path, types)
    return Ipc(path)


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Turn what goes wrong while reading into an error that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        reason = str(error).strip().rstrip(".")
        raise DataError(
            f"'{path}' cannot be read as {what}: {reason}; write it again or leave it out"
        ) from error
