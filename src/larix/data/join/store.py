"""The files of a join's state: record batches that never change, written once, then linked into every save.

Knows nothing of what is in them. One joiner at a time has a store's folder; what is in it is of no use to the next.
"""

import os
import shutil
import tempfile
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.data.log.lease import Lease
from larix.data.write import sync
from larix.errors import StorageError

_SUFFIX = ".arrow"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A file of a store: its name, its bytes and their checksum (crc32c)."""

    name: str
    size: int
    crc: int

    def to_json(self) -> dict[str, Any]:
        """What `json.dumps` takes."""
        return {"name": self.name, "size": self.size, "crc": self.crc}


class Store:
    """Files in ``folder``, or in a temporary one that goes with the process.

    Saves on the same disk cost no copies.

    Raises:
        LeaseError: another joiner has the folder.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path | None) -> None:
        try:
            if folder is None:
                folder = Path(tempfile.mkdtemp(prefix="larix-join-"))
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            self._lease = Lease(folder / "lease", f"the folder '{folder}' of a join's state")
            for stale in folder.glob(f"*{_SUFFIX}"):
                stale.unlink()
        except OSError as error:
            raise _unwritable(folder, error) from error
        self.folder = folder
        self._next = 0
        # Most of a write is waiting for the disk. Two at a time: impressions and actions of a batch.
        self._writers = ThreadPoolExecutor(2, "join-store")

    def close(self) -> None:
        """Let another joiner have the folder."""
        self._writers.shutdown()
        self._lease.close()

    def keep(self, kind: str, rows: pa.RecordBatch, at: NDArray[np.int32] | None) -> Future[Stored]:
        """Begin to write rows (``at``: those of them) to a new file.

        Its result is the file, once it is durable, or the StorageError.
        """
        path = self.folder / self._name(kind)
        return self._writers.submit(lambda: write(path, rows if at is None else rows.take(pa.array(at))))

    def read(self, file: Stored) -> pa.RecordBatch:
        """The rows, mapped into memory."""
        return read(self.folder / file.name)

    def drop(self, file: Stored) -> None:
        """Nobody needs it any more; saves that hold it keep it."""
        (self.folder / file.name).unlink(missing_ok=True)

    def save(self, file: Stored, folder: Path) -> None:
        """Let ``folder`` hold the file too; durable once the folder is synced."""
        _link(self.folder / file.name, folder / file.name)

    def load(self, kind: str, said: Any, folder: Path) -> Stored:
        """Take a file of a save, checked.

        Raises:
            StorageError: it is missing or damaged.
        """
        path = folder / str(said["name"])
        try:
            size, crc = checksum(path)
        except OSError as error:
            raise damaged(path, error.strerror or "it cannot be read") from error
        if (size, crc) != (said["size"], said["crc"]):
            raise damaged(path, f"it has {size:,} bytes, and not those that were written")
        file = Stored(name=self._name(kind), size=size, crc=crc)
        _link(path, self.folder / file.name)
        return file

    def _name(self, kind: str) -> str:
        self._next += 1
        return f"{kind}-{self._next:08}{_SUFFIX}"


def write(path: Path, rows: pa.RecordBatch) -> Stored:
    """Write rows to a file; durable but for its name.

    Raises:
        StorageError: there is no space.
    """
    try:
        with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, rows.schema) as stream:
            stream.write_batch(rows)
        with path.open("rb") as written:
            os.fdatasync(written.fileno())
        size, crc = checksum(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _unwritable(path, error) from error
    return Stored(name=path.name, size=size, crc=crc)


def checksum(path: Path) -> tuple[int, int]:
    """The bytes of a file, and their crc32c."""
    with pa.memory_map(str(path)) as content:
        return content.size(), google_crc32c.value(content.read_buffer())


def damaged(path: Path, why: str) -> StorageError:
    """What is raised for a file of a save that cannot be used."""
    return StorageError(f"'{path}' is damaged: {why}; go on from the save before it")


def read(path: Path) -> pa.RecordBatch:
    """The rows of a file, mapped into memory.

    Raises:
        StorageError: it holds none.
    """
    try:
        with pa.ipc.open_stream(pa.memory_map(str(path))) as stream:
            return stream.read_next_batch()
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise damaged(path, "it holds no rows") from error


def _link(source: Path, target: Path) -> None:
    try:
        try:
            os.link(source, target)
        except OSError:  # another disk, or one that knows no hard links
            shutil.copyfile(source, target)
            sync(target)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(path: Path | None, error: OSError) -> StorageError:
    return StorageError(
        f"'{path}' cannot be written: {error.strerror}; free some space or choose another folder"
    )
