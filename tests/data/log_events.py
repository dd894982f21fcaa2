"""Events that say who made them, so that a test can tell whether all of an append is there, once and in order."""

import numpy as np
import pyarrow as pa

from larix.data.log.frame import HEADER, unpack


def numbered(maker: int, append: int, rows: int) -> pa.RecordBatch:
    """Rows of one append, each with the append's number, its own, and how many there are."""
    return pa.record_batch(
        {
            "maker": np.full(rows, maker),
            "append": np.full(rows, append),
            "row": np.arange(rows),
            "rows": np.full(rows, rows),
            "text": pa.array((np.arange(rows) * 7919 + maker) ** (2 + append % 3)).cast(pa.string()),
        }
    )


def appends(batches) -> list[tuple[int, int]]:
    """The (maker, append) found, in order; fails if one is not whole or its rows are not as they were made."""
    table = pa.Table.from_batches(batches) if batches else pa.table({})
    found, at = [], 0
    while at < len(table):
        maker, append, rows = (table[name][at].as_py() for name in ("maker", "append", "rows"))
        expected = numbered(maker, append, rows)
        got = table.slice(at, rows).combine_chunks()
        assert got.equals(pa.Table.from_batches([expected])), (maker, append, rows, len(got))
        found.append((maker, append))
        at += rows
    return found


def frames(path) -> list[tuple[int, object]]:
    """The byte and the header of every frame of an undamaged segment."""
    raw, at, found = path.read_bytes(), 0, []
    while at < len(raw):
        header = unpack(raw[at : at + HEADER])
        assert header is not None, at
        found.append((at, header))
        at += HEADER + header.size
    return found


def flip(path, byte, bit=0) -> None:
    """Flip a bit of a file in place."""
    with path.open("r+b") as file:
        file.seek(byte)
        old = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([old ^ (1 << bit)]))
