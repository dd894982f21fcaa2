"""Put a file or a folder in its place only when it is whole. Knows nothing of what is written."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from larix.errors import StorageError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def replacing(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary place beside ``path``; when the block ends, sync it and rename it to ``path``.

    With ``folder`` the place is an empty folder, otherwise the name of a file to create. What was at
    ``path`` stays until the new one is whole; if the block raises, it stays for good and the temporary
    place is removed.

    Raises:
        StorageError: no space, or no permission to write there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise StorageError(f"cannot write beside '{path}': {error}; choose another place") from error
    try:
        fresh = work / path.name
        if folder:
            fresh.mkdir()
        yield fresh
        for file in sorted(fresh.rglob("*")) if folder else [fresh]:
            _sync(file)
        if folder:
            _sync(fresh)
            if path.exists():  # a folder cannot be renamed over a folder that is not empty
                path.rename(work / "old")
        fresh.rename(path)
        _sync(path.parent)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise StorageError(
            f"cannot write '{path}': {error}; free some space or choose another place"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
