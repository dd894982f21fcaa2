"""Columnar files as a source (first form; the reader follows)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Files:
    """Files."""

    folder: Path


def files(folder: Path, time: str, day: str, utc_offset_hours: int) -> Files:
    """Files of a folder."""
    return Files(folder)
