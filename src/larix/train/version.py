"""A version on disk: a folder of files that is there whole or not at all, every byte under a checksum.

Knows nothing of what the files hold.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from larix.data.write import sync
from larix.errors import StorageError

_NAME = re.compile(r"step-(\d{10})")
_MANIFEST = "manifest.json"


def versions(folder: Path) -> list[Path]:
    """The whole versions in ``folder``, the oldest first."""
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))


def path_of(folder: Path, step: int) -> Path:
    """Where the version of ``step`` is or would be."""
    return folder / f"step-{step:010d}"


def write(target: Path, files: Mapping[str, bytes], extra: Callable[[Path], None]) -> None:
    """Make the version ``target`` of ``files`` and of what ``extra`` writes into the folder it is given.

    It is written beside its place, synced, and renamed. ``extra``'s folders vouch for their own files by a
    ``manifest.json`` with checksums; the version's manifest vouches for that. StorageError if the disk is
    full or fails; what was there before is untouched.
    """
    fresh = target.with_name(f".{target.name}.new")
    try:
        for stale in target.parent.glob(".step-*"):
            shutil.rmtree(stale)
        fresh.mkdir(parents=True)
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        extra(fresh)
        digests = {name: _digest(content) for name, content in files.items()}
        for path in fresh.glob(f"*/{_MANIFEST}"):
            digests[str(path.relative_to(fresh))] = _digest(path.read_bytes())
        manifest = {"format": 1, "files": digests, "sha256": _self_digest(digests)}
        (fresh / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        for path in [*fresh.rglob("*"), fresh]:
            sync(path)
        fresh.rename(target)
        sync(target.parent)
    except (OSError, StorageError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise StorageError(
            f"version '{target}' cannot be written: {why}; free some space and go on from the version "
            "before, which is untouched"
        ) from error


def read(target: Path) -> dict[str, bytes]:
    """The version's own files by name, each checked. StorageError names one that is missing or damaged."""
    found = {}
    for name, digest in _manifest(target).items():
        try:
            content = (target / name).read_bytes()
        except OSError as error:
            raise _damaged(target, target / name, error.strerror or "it cannot be read") from error
        if _digest(content) != digest:
            raise _damaged(target, target / name, "its checksum is not the one in the manifest")
        found[name] = content
    return found


def prune(folder: Path, keep: int, spare: Collection[str] = ()) -> None:
    """Remove all but the newest ``keep`` versions and those named in ``spare``; one half removed is no version any more."""
    for old in versions(folder)[:-keep]:
        if old.name in spare:
            continue
        gone = old.with_name(f".{old.name}.gone")
        old.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _manifest(target: Path) -> dict[str, str]:
    path = target / _MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        if manifest["format"] != 1:
            raise StorageError(
                f"'{path}' has format {manifest['format']} but this larix reads 1; use the one that wrote it"
            )
        if manifest["sha256"] != _self_digest(manifest["files"]):
            raise _damaged(target, path, "it does not match its own checksum")
        return {str(name): str(digest) for name, digest in manifest["files"].items()}
    except OSError as error:
        raise _damaged(target, path, error.strerror or "it cannot be read") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(target, path, "it is not a manifest") from error


def _damaged(target: Path, path: Path, why: str) -> StorageError:
    return StorageError(
        f"'{path}' is damaged: {why}; remove the folder '{target.name}' to go on from the version before it"
    )


def _self_digest(digests: Mapping[str, str]) -> str:
    return _digest(json.dumps(digests, sort_keys=True).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
