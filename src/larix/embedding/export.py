"""One table for people and other tools, as Parquet or safetensors. Knows nothing of how a store keeps its rows."""

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from larix.embedding import check, storage
from larix.embedding.store import Store
from larix.errors import StorageError


def export_parquet(store: Store, table: str, path: str | Path) -> int:
    """Write a table's rows by rising id to ``path`` and return how many; memory stays at some thousand rows.

    Columns: ``id`` int64, ``weights`` float32 list of ``dim``, ``state`` float32 list, not there for SGD.
    StorageError if the disk does not take it; a file that was there stays then.
    """
    check.known(table, store.specs)
    path, ids = Path(path), store.keys(table)
    spec = store.specs[table]
    widths = {"weights": spec.dim} | ({"state": spec.state} if spec.state else {})
    schema = pa.schema(
        [("id", pa.int64())] + [(name, pa.list_(pa.float32(), width)) for name, width in widths.items()]
    )
    fresh = path.with_name(f".{path.name}.new")
    try:
        with pq.ParquetWriter(fresh, schema) as writer:
            for piece, *rows in storage.pieces(store, table, ids):
                lists = [
                    pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)
                    for values, width in zip(rows, widths.values(), strict=False)
                ]
                writer.write_table(pa.Table.from_arrays([pa.array(piece), *lists], schema=schema))
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):  # as where the folder is none
            fresh.unlink()
        raise StorageError(
            f"'{path}' cannot be written: {error.strerror or error}; choose another place"
        ) from error
    return len(ids)


def export_safetensors(store: Store, table: str, folder: str | Path) -> int:
    """Write a table as it is now to ``folder`` as a version that ``Tables.load`` reads; return how many rows.

    Safetensors files of some megabytes with ``ids``, ``weights``, ``state``, ``seen`` and ``score``, and a
    manifest. StorageError if the disk does not take it; what was there stays then.
    """
    check.known(table, store.specs)
    storage.save(store, folder, [table])
    return sum(len(piece.ids) for piece in storage.read(folder))
