"""A save of a join: a folder of files that never change, and the manifest that says which, with checksums.

Knows nothing of what the state means.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larix.data.join.store import Store, Stored, damaged
from larix.data.write import sync
from larix.errors import ConfigError, StorageError

MANIFEST = "manifest.json"
_FORMAT = 1


def save(folder: Path, store: Store, files: list[Stored], state: Mapping[str, Any]) -> None:
    """Write ``state`` (JSON) and the files it speaks of; durable on return.

    Raises:
        ConfigError: there is something in the folder.
        StorageError: there is no space.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"'{folder}' is not empty; a join is saved into a folder of its own")
        for file in files:
            store.save(file, folder)
        seal(folder, state)
    except OSError as error:
        raise StorageError(
            f"'{folder}' cannot be written: {error.strerror}; free some space, or choose another folder"
        ) from error


def seal(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the manifest that says ``state`` of a folder, and sync both. OSError if there is no space."""
    manifest = {"format": _FORMAT, "sha256": _digest(state), "state": state}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    sync(folder / MANIFEST)
    sync(folder)


def read(folder: Path) -> dict[str, Any]:
    """The state that `save` or `seal` was given.

    Raises:
        StorageError: the manifest is missing or damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        if manifest["format"] != _FORMAT:
            raise StorageError(
                f"'{path}' has format {manifest['format']!r}, but this larix reads {_FORMAT}; use the one that wrote it"
            )
        if manifest["sha256"] != _digest(manifest["state"]):
            raise damaged(path, "it does not match its own checksum")
        state: dict[str, Any] = manifest["state"]
    except OSError as error:
        raise damaged(path, error.strerror or "it cannot be read") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, "it is no manifest") from error
    return state


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
