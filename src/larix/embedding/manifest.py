"""A folder that is there whole or not at all: written beside its place, synced, renamed into it.

Its ``manifest.json`` is under a checksum of its own and vouches for the other files. Knows nothing of what they hold.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from larix.errors import ConfigError, StorageError

NAME = "manifest.json"


def write(folder: Path, fill: Callable[[Path], Mapping[str, Any]]) -> None:
    """Make ``folder`` of the files that ``fill`` writes and syncs where it is told, and of the manifest it returns.

    What was there is replaced once all is on disk. StorageError if the disk is full or fails; what was there
    is untouched then.
    """
    fresh, aside = _beside(folder, "new"), _beside(folder, "old")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        body = fill(fresh)
        assert "sha256" not in body
        with (fresh / NAME).open("w", encoding="utf-8") as file:
            json.dump({"sha256": _digest(body), **body}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        sync(fresh)
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        fresh.rename(folder)
        sync(folder.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        if not isinstance(error, OSError):
            raise
        raise StorageError(
            f"'{folder}' cannot be written: {error.strerror}; free some space or choose another place "
            f"(what was there is untouched)"
        ) from error


def read(folder: Path, formats: Collection[int]) -> dict[str, Any]:
    """Return the manifest's body. StorageError if it is not there, damaged, or of none of the formats."""
    path = folder / NAME
    try:
        body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        sound = body.pop("sha256") == _digest(body)
    except OSError as error:
        raise StorageError(f"'{path}' cannot be read: {error.strerror}; is this the right folder?") from error
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise StorageError(f"'{path}' is damaged: it is not a manifest; load another version") from error
    if not sound:
        raise StorageError(f"'{path}' is damaged: it does not match its own checksum; load another version")
    if body.get("format") not in formats:
        raise StorageError(
            f"'{path}' has format {body.get('format')} not {max(formats)}; use the larix that wrote it"
        )
    return body


@contextmanager
def told_by(what: str) -> Iterator[None]:
    """Whatever goes wrong with values that a file tells is a StorageError that names it: ``what``.

    Checksums vouch that they are what was written, not that they make sense to whoever reads them.
    """
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        ConfigError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        said = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise StorageError(
            f"{what} is damaged, or a larix wrote it that is newer: {said}; load another version"
        ) from error


def beside(path: Path, name: object) -> Path:
    """Return where the file ``name`` in the manifest's folder ``path`` is; ValueError for a name of anything else."""
    if not isinstance(name, str) or not name.isascii() or not name.isprintable() or Path(name).name != name:
        raise ValueError(f"{name!r:.50} is not the name of a file in the folder")
    return path / name


def standing(folder: Path) -> Path:
    """Return ``folder``, or where the version is that was there if a write died between its two renames."""
    aside = _beside(folder, "old")
    return aside if aside.exists() and not folder.exists() else folder


def sync(folder: Path) -> None:
    """Make sure that what was renamed in ``folder`` stays so."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")
