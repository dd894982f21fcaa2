"""A small simulated feed, what is wrong with copies of it, and the recipe that trains on it."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from larix.data import synthetic

TINY = f"{Path(__file__).with_name('tiny.py')}:tiny"
DAYS = ("2022-04-25", "2022-04-26", "2022-04-27", "2022-04-28")


def write(folder: Path, seed: int = 0, **more: int) -> Path:
    sizes = {"users": 150, "items": 200, "new_items": 5, "days": len(DAYS), "impressions": 4000}
    return synthetic.write(folder, seed=seed, **sizes | more)


def log_of(folder: Path) -> Path:
    (path,) = folder.glob("log_standard_*.parquet")
    return path


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def change(folder: Path, column: str, values) -> Path:
    """Replace a column of the log by ``values(old)``, or add it; None drops it."""
    table = pq.read_table(log_of(folder))
    old = table[column].to_pylist() if column in table.column_names else [None] * len(table)
    if column in table.column_names:
        table = table.drop_columns([column])
    if values is not None:
        table = table.append_column(column, pa.array(values(old)))
    pq.write_table(table, log_of(folder))
    return folder


def damage(path: Path) -> Path:
    """Flip the bits of a byte here and there, but not in the footer."""
    content = bytearray(path.read_bytes())
    for at in range(100, len(content) * 6 // 10, 499):
        content[at] ^= 0xFF
    path.write_bytes(content)
    return path
