"""Put a file or a folder in its place only when it is whole. Knows nothing of what is written."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from larix.errors import ConfigError, StorageError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def replacing(path: Path, *, mark: str | None = None) -> Iterator[Path]:
    """Yield a temporary place beside ``path``; when the block ends, sync it and rename it to ``path``.

    The place is the name of a file to create; with ``mark``, an empty folder, in which the block must
    create a file of that name. What was at ``path`` stays until the new one is whole. If the block raises,
    it stays for good and the temporary place is removed.

    Raises:
        ConfigError: ``path`` is to be a folder, but there is something without a file ``mark`` in it; or it is to be a
            file, but there is a folder.
        StorageError: no space, or no permission to write there.
    """
    path = Path(os.path.abspath(path))
    if mark is None and path.is_dir():
        raise ConfigError(f"'{path}' is a folder; name a file to write")
    replaceable = mark is None or not path.exists() or (path / mark).is_file()
    if not replaceable and (path.is_file() or any(path.iterdir())):
        raise ConfigError(f"'{path}' holds something else; give a new or an empty folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise StorageError(f"cannot write beside '{path}': {error}; choose another place") from error
    try:
        fresh = work / path.name
        if mark is not None:
            fresh.mkdir()
        yield fresh
        if mark is None:
            sync(fresh)
            fresh.rename(path)
        else:
            assert (fresh / mark).is_file(), f"no '{mark}' was written"
            for file in [*fresh.rglob("*"), fresh]:
                sync(file)
            _exchange(fresh, path, work / "old")
        sync(path.parent)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise StorageError(
            f"cannot write '{path}': {error}; free some space or choose another place"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _exchange(fresh: Path, path: Path, old: Path) -> None:
    """Put the folder ``fresh`` at ``path`` and what was there at ``old``: none is renamed over a full one."""
    if path.exists():
        path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise


def sync(path: Path) -> None:
    """Wait until the file or folder ``path`` is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
