"""Rows on disk: what a store says of those that are beyond its memory. Knows nothing of files or of which rows go."""

from dataclasses import dataclass
from pathlib import Path

from larix.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ColdStats:
    """What a store's folder of cold rows holds and has done.

    ``rows`` on disk; ``bytes`` on disk, of rows that have left again too; ``segments``: files; ``memory``: bytes in
    memory that it takes to find rows on disk. ``spilled`` and ``recalled``: rows ever moved to disk, and from there.
    ``pages_read`` for ids that were looked for, of these ``pages_vain`` without any of them; ``compacted``: bytes
    written to make few files of many and leave out what is stale. ``trouble``: why compaction failed last, or "".
    """

    rows: int
    bytes: int
    segments: int
    memory: int
    spilled: int
    recalled: int
    pages_read: int
    pages_vain: int
    compacted: int
    trouble: str


def folder_of(cold: str | Path | None, memory_budget: int | None) -> Path | None:
    """The folder for cold rows, absolute; ConfigError if it is there and holds anything but cold rows.

    ConfigError, too, for a folder without a budget that would ever send a row there.
    """
    if cold is None:
        return None
    if memory_budget is None:
        raise ConfigError(f"cold is '{cold}' but no row goes there without a memory_budget; give one")
    folder = Path(cold).absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"cold is '{cold}', which is a file; give a folder that larix may have to itself")
    strange = [path.name for path in folder.iterdir() if not path.name.isdigit()] if folder.exists() else []
    if strange:
        raise ConfigError(
            f"cold is '{cold}', where there is '{strange[0]}'; give a folder that larix may have to itself"
        )
    return folder
