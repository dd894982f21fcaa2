"""Row files to one Parquet file, streaming: TFRecord files of tf.train.Example, CSV, JSON lines.

Knows nothing of the command line or its progress bar.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from larix.data import text, tfrecord
from larix.data.block import Block
from larix.data.widen import widened, wider
from larix.data.write import replacing
from larix.errors import ConfigError, DataError

Kind = Literal["tfrecord", "csv", "json"]
_ROW_GROUP = 65536


def convert(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    kind: Kind | None = None,
    types: Mapping[str, pa.DataType] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the records of ``inputs``, in that order, to the Parquet file ``out``; return how many.

    Reads and writes a block at a time. The columns' types are those of the first block. Where a later one
    does not fit, a column is widened without loss (null to any, whole number to double, value to list; what
    was written is written anew), and a new column is null before; anything else is an error. ``out``
    appears when it is whole, or not at all.

    Args:
        inputs: a file or several.
        out: the file to write; one that is there is replaced.
        kind: of the inputs; None tells it by the names: ``.tfrecord`` anywhere in it, ``.csv``, ``.tsv``,
            ``.jsonl``, ``.ndjson``, ``.json``, each also with ``.gz``.
        types: types that columns must have, instead of those found.
        progress: called with (bytes read, bytes of all inputs) after each block.

    Raises:
        DataError: a record is damaged, cut off or of another type, named by file and number; or there is no
            record.
        ConfigError: a kind cannot be told, or the extra ``larix[tfrecord]`` is missing.
        StorageError: there is no space.
    """
    paths = [Path(item) for item in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    out = Path(out)
    types = dict(types or {})
    kinds = [kind or _kind(path) for path in paths]
    if not paths:
        raise ConfigError("there is nothing to convert; name at least one file")
    if kind is not None and kind not in get_args(Kind):
        raise ConfigError(f"kind '{kind}' is not known; it is one of {', '.join(get_args(Kind))}")
    for path in paths:
        if not path.is_file():
            raise DataError(f"'{path}' is not there or is no file; name files to convert")
        if out.exists() and path.samefile(out):
            raise ConfigError(f"'{path}' would be overwritten by what it is converted to; give another place")
    sizes = [path.stat().st_size for path in paths]
    with replacing(out) as fresh:
        writer, strings = _Writer(fresh, types), set(types)
        for at, (path, each) in enumerate(zip(paths, kinds, strict=True)):
            for block in _blocks(path, each, strings):
                writer.add(block, path)
                if progress is not None:
                    progress(sum(sizes[:at]) + min(block.done, sizes[at]), sum(sizes))
        if not writer.rows:
            raise DataError(f"'{paths[0]}'{' and the others have' if len(paths) > 1 else ' has'} no records")
        for name in types:
            if name not in writer.columns:
                there = ", ".join(writer.columns)
                raise DataError(f"a type is given for '{name}' but no record has it; there are {there}")
        writer.close()
    if progress is not None:
        progress(sum(sizes), sum(sizes))
    return writer.rows


def _kind(path: Path) -> Kind:
    name = path.name.lower().removesuffix(".gz")
    if ".tfrecord" in name:
        return "tfrecord"
    if name.endswith((".csv", ".tsv")):
        return "csv"
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return "json"
    raise ConfigError(
        f"what '{path}' is cannot be told by its name; say its kind: {', '.join(get_args(Kind))}"
    )


def _blocks(path: Path, kind: Kind, strings: set[str]) -> Iterator[Block]:
    if kind == "tfrecord":
        return tfrecord.blocks(path)
    return text.csv_blocks(path, strings) if kind == "csv" else text.json_blocks(path)


class _Writer:
    """A Parquet file that grows by blocks, and is written anew when a column has to be widened."""

    def __init__(self, path: Path, types: Mapping[str, pa.DataType]) -> None:
        self.rows = 0
        self._path = path
        self._types = types
        self._schema = pa.schema([])
        self._writer: pq.ParquetWriter | None = None

    @property
    def columns(self) -> list[str]:
        """The columns so far."""
        return list(self._schema.names)

    def add(self, block: Block, path: Path) -> None:
        """Append the records of a block of ``path``."""
        table = block.table
        for name in self._types:
            if name in table.column_names:
                given = self._fitted(table[name], self._types[name], name, block.first, path)
                table = table.set_column(table.column_names.index(name), name, given)
        schema = self._widened_schema(table, block.first, path)
        columns = [
            self._fitted(table[field.name], field.type, field.name, block.first, path)
            if field.name in table.column_names
            else pa.nulls(len(table), field.type)
            for field in schema
        ]
        if not schema.names and len(table):
            raise DataError(f"record {block.first} of '{path}' and those after have no fields")
        if schema != self._schema:
            self._rewrite(schema, block.first, path)
        assert self._writer is not None
        self._writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=_ROW_GROUP)
        self.rows += len(table)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()

    def _widened_schema(self, table: pa.Table, first: int, path: Path) -> pa.Schema:
        fields = {field.name: field.type for field in self._schema}
        for name in table.column_names:
            before, now = fields.get(name, pa.null()), table[name].type
            kind = wider(before, now)
            if kind is None:
                number, value = _misfit(table[name], before)
                raise DataError(
                    f"'{name}' of record {first + number} of '{path}' is {value!r:.60}, {now}, but those "
                    f"before have {before}; repair it, or give '{name}' a type"
                )
            fields[name] = kind
        return pa.schema(list(fields.items()))

    def _rewrite(self, schema: pa.Schema, first: int, path: Path) -> None:
        """Begin the file anew with a wider schema, and what was written so far."""
        self.close()
        before = self._path.with_name("before.parquet")
        if self._writer is not None:
            self._path.rename(before)
        self._writer = pq.ParquetWriter(self._path, schema, compression="zstd", write_page_checksum=True)
        if before.exists():
            with pq.ParquetFile(before) as old:
                for batch in old.iter_batches(_ROW_GROUP):
                    table = pa.table(batch)
                    columns = [self._as_before(table, field, first, path) for field in schema]
                    self._writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            before.unlink()
        self._schema = schema

    def _as_before(
        self, table: pa.Table, field: pa.Field, first: int, path: Path
    ) -> pa.ChunkedArray | pa.Array:
        if field.name not in table.column_names:
            return pa.nulls(len(table), field.type)
        try:
            return widened(table[field.name], field.type)
        except pa.ArrowException as error:
            raise DataError(
                f"'{field.name}' becomes {field.type} with record {first} of '{path}' or one after it, which "
                f"values before do not fit: {error}; give '{field.name}' a type"
            ) from error

    def _fitted(
        self, column: pa.ChunkedArray, kind: pa.DataType, name: str, first: int, path: Path
    ) -> pa.ChunkedArray:
        try:
            return widened(column, kind)
        except pa.ArrowException as error:
            number, value = _misfit(column, kind)
            raise DataError(
                f"'{name}' of record {first + number} of '{path}' is {value!r:.60}, which does not fit {kind}; repair it, "
                f"or give '{name}' another type"
            ) from error


def _misfit(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[int, object]:
    """The row of the first value of ``column`` that is not of ``kind``, and the value."""
    for at in range(len(column)):
        try:
            widened(column.slice(at, 1), kind)
        except pa.ArrowException:
            return at, column[at].as_py()
    return 0, column[0].as_py()
