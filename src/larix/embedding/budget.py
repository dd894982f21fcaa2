"""What rows cost in memory, and what a memory budget is. Knows the shapes of the native core; holds no rows itself."""

import re
from collections.abc import Iterable, Mapping

from larix.embedding.admission import ByCount
from larix.embedding.spec import TableSpec
from larix.errors import ConfigError

HEADER = 24  # bytes of a row before its weights: native/rows.hpp
SHARDS = 32  # of an index: native/index.hpp, as all of what follows
_FIRST_BUCKETS = 64
_BUCKET, _CELLS = 64, 8
_CHUNK = 512  # buckets
_EXTENT = 64  # rows that a shard takes at a time: native/rows.hpp

_UNITS = {"": 1, "b": 1} | {
    prefix + end: base**power
    for power, prefix in enumerate("kmgt", 1)
    for end, base in (("", 1024), ("ib", 1024), ("b", 1000))
}


def parse(budget: int | str | None, name: str = "memory budget") -> int | None:
    """Return a budget in bytes: an int as it is, ``"4GiB"``, ``"500 MB"``, ``"1.5G"`` (of 1024); ConfigError for others."""
    if budget is None:
        return None
    if isinstance(budget, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", budget.lower())
        if not found or found[2] not in _UNITS:
            raise ConfigError(f"{name} {budget!r} is no size; write it as '4GiB', '500MB' or in bytes")
        budget = int(float(found[1]) * _UNITS[found[2]])
    if isinstance(budget, bool) or not isinstance(budget, int) or budget <= 0:
        raise ConfigError(f"{name} is {budget!r}; it must be a number of bytes above 0, or as '4GiB'")
    return budget


def shown(size: float) -> str:
    """A number of bytes for people, as ``parse`` reads it: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"


def row_bytes(spec: TableSpec) -> int:
    """Bytes of one row in memory: header, weights, optimizer state, up to a multiple of 8, and two beside it."""
    return -(-(HEADER + spec.row_bytes) // 8) * 8 + 2


def kind(spec: TableSpec) -> tuple[object, ...]:
    """What tables have in common that live together in one index and one set of slabs."""
    return spec.dim, spec.precision, spec.optimizer


def shards_each(tables: int) -> int:
    """How many shards of an index a table has its rows in, if so many share the index."""
    return SHARDS // min(1 << (tables - 1).bit_length(), SHARDS)


def index_bytes(rows: Mapping[int, int]) -> int:
    """Bytes of an index over the rows of tables by number: a shard grows by three eighths whenever four fifths are used."""
    each = shards_each(len(rows))
    used = [0.0] * SHARDS
    for number, count in rows.items():
        for shard in range(number * each, (number + 1) * each):
            used[shard % SHARDS] += count / each
    chunks = 0
    for shard, cells in enumerate(used):
        buckets = _FIRST_BUCKETS + shard * 2 // 3
        while cells > buckets * _CELLS * 4 // 5:
            buckets += buckets // 8 * 3
        chunks += buckets // _CHUNK + 1
    return chunks * _CHUNK * _BUCKET


def slab_bytes(spec: TableSpec, rows: int) -> int:
    """Bytes of so many rows where they lie: shards take 64 at a time, so about half of that is not in use yet."""
    return (rows + min(rows, SHARDS * _EXTENT // 2)) * row_bytes(spec)


def sketch_bytes(specs: Iterable[TableSpec]) -> int:
    """Bytes of the admission sketches of some tables."""
    return sum(spec.admission.bytes for spec in specs if isinstance(spec.admission, ByCount))
