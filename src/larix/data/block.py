"""A run of records of a row file, as columns, and how such a file is opened. Knows nothing of any format."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from larix.errors import DataError

BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """``table``: the records' columns. ``first``: the number of its first record in the file, from 1.

    ``done``: how many bytes of the file were read by then.
    """

    table: pa.Table
    first: int
    done: int


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """Open a file, gunzipped if its name ends with ``.gz``: a stream, and a function that says the bytes
    read of the file.

    Raises:
        DataError: the file cannot be read, or its compressed data is damaged or ends early, also later
            while reading.
    """
    try:
        with path.open("rb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=raw) as unzipped:
                    yield unzipped, raw.tell  # type: ignore[misc]  # a GzipFile reads like any binary file
            else:
                yield raw, raw.tell
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' cannot be read: {error}; fetch it again or leave it out") from error
