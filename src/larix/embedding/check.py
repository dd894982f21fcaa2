"""Whether arguments are what a store can work on: each function raises a sentence or none."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larix.batch import Batch, Floats, Ids, Jagged
from larix.embedding.budget import parse, shown
from larix.embedding.layout import Buffer, Layout, slot_ids
from larix.embedding.spec import TableSpec
from larix.errors import ConfigError, DataError

_FLOATS, _HALVES = np.dtype(np.float32), np.dtype(np.uint16)


def specs(given: Iterable[TableSpec]) -> dict[str, TableSpec]:
    """Return the specs by name; no name twice."""
    named: dict[str, TableSpec] = {}
    for spec in given:
        if named.setdefault(spec.name, spec) is not spec:
            raise ConfigError(f"table '{spec.name}' is declared twice; give each table one spec")
    if len(named) > 65535:
        raise ConfigError(f"there are {len(named)} tables; a store holds at most 65535")
    return named


def budget(given: int | str | None, least: Callable[[int], int]) -> int | None:
    """Return a memory budget in bytes; ConfigError if it is not more than ``least(bytes)``, what no row has any of."""
    size = parse(given)
    if size is not None and size <= least(size):
        raise ConfigError(
            f"memory_budget is {shown(size)} but the index and the admission sketches take {least(size)} bytes before the "
            "first row; give a larger budget, or ByCount fewer counters"
        )
    return size


def threads(asked: int) -> int:
    """Return ``asked``, or for 0 the number of cores this process may use."""
    if not 0 <= asked <= 1024:
        raise ConfigError(f"threads is {asked}; it must be between 0 (one a core) and 1024")
    if asked == 0:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked


def known(table: str, specs: Mapping[str, TableSpec]) -> None:
    """Check that the store has the table."""
    if table not in specs:
        raise ConfigError(f"there is no table '{table}'; there are {sorted(specs)}")


def scale(lr_scale: float) -> float:
    """Return ``lr_scale`` if it is a finite number not below 0."""
    if not 0 <= lr_scale <= 1e30:
        raise ConfigError(f"lr_scale is {lr_scale}; it must be a finite number not below 0")
    return lr_scale


def steps(given: int) -> int:
    """Return ``given`` if a store can have made so many steps."""
    if not 0 <= given < 2**63:
        raise ConfigError(f"steps is {given}; it must be a whole number between 0 and 2**63 - 1")
    return given


def clock(now: int) -> int:
    """Return ``now`` if it fits the clock: a whole number of 32 bits, as seconds or calls are."""
    if not 0 <= now < 2**32:
        raise ConfigError(f"the clock was set to {now}; it must be between 0 and {2**32 - 1}, as in seconds")
    return int(now)


def whole(number: int) -> int:
    """Return a sequence number that the core can take."""
    if not 0 <= number < 2**32:
        raise ConfigError(f"{number} is no sequence number; cut() and changes() return them")
    return number


def ended(number: int, sequence: int) -> None:
    """Check that the sequence ``number`` has ended while the current one is ``sequence``."""
    if not 0 <= number < sequence:
        raise ConfigError(
            f"sequence {number} has not ended: the last that has is {sequence - 1}; end one by cut()"
        )


def since(number: int, sequence: int, kept: int | None) -> None:
    """Check that changes since the end of ``number`` are known; ``kept``: those since when are."""
    if kept is None:
        raise ConfigError(
            "changes are kept from the first cut() on; call it, then ask for changes since then"
        )
    ended(number, sequence)
    if number < kept:
        raise ConfigError(
            f"changes since sequence {number} were asked for but only those since {kept} are kept; "
            f"begin with a snapshot"
        )


def resumed(fits: bool, number: int) -> None:
    """Raise unless it ``fits`` that a store goes on from the end of ``number``."""
    if not fits:
        raise ConfigError(
            f"rows have changed since the end of sequence {number}: a store does not go back; make a new one"
        )


def ids(values: Ids | Sequence[int]) -> Ids:
    """Return ``values`` as contiguous int64 ``[n]``; a sequence of Python integers is taken too."""
    array = np.asarray(values)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.int64)
    if array.dtype != np.int64 or array.ndim != 1:
        raise DataError(
            f"ids are {_said(array)}; they must be int64 [n] (ids.view or .astype, as they are meant)"
        )
    return np.ascontiguousarray(array)


def floats(
    array: Buffer, shape: tuple[int, ...], name: str, writable: bool = False, bf16: bool = False
) -> None:
    """Check one float32 buffer, or one of uint16 for ``bf16``: exact shape, C-contiguous, writable if asked."""
    dtype = _HALVES if bf16 else _FLOATS
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = _said(array) if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
        raise ConfigError(f"{name} is {got}; it must be {dtype} {list(shape)}")
    if not array.flags.c_contiguous:
        raise ConfigError(f"{name} is not C-contiguous; use np.ascontiguousarray")
    if writable and not array.flags.writeable:
        raise ConfigError(f"{name} is read-only; give a buffer that can be written")


def metadata(rows: int, seen: NDArray[np.uint32] | None, score: Floats | None) -> None:
    """Check what may be given with rows: when they were seen, and their scores."""
    if seen is not None and (seen.dtype != np.uint32 or seen.shape != (rows,)):
        raise ConfigError(f"seen is {_said(seen)}; it must be uint32 [{rows}]")
    if score is not None:
        floats(score, (rows,), "score")


def clicks(given: Floats | None, size: int) -> Floats | None:
    """Return ``given`` if it is one finite float32 a sample, or None."""
    if given is not None:
        floats(given, (size,), "clicks")
        if not np.isfinite(given).all():
            raise DataError(f"clicks hold {given[~np.isfinite(given)][0]}; they must be finite")
    return given


def buffers(layout: Layout, size: int, arrays: Sequence[Buffer], writable: bool) -> None:
    """Check a step's output or gradient buffers against the layout."""
    if len(arrays) != len(layout.outputs):
        raise ConfigError(f"the layout has {len(layout.outputs)} outputs; {len(arrays)} buffers were given")
    for output, array in zip(layout.outputs, arrays, strict=True):
        shape = (size, output.length, output.width) if output.length else (size, output.width)
        floats(array, shape, f"{'output' if writable else 'gradient'} '{output.name}'", writable, output.bf16)


def slots(layout: Layout, batch: Batch) -> list[Jagged]:
    """Return each slot's ids with types and lengths checked; what offsets hold is left to ``offsets``."""
    found = list(slot_ids(layout, batch))
    for slot, jagged in zip(layout.slots, found, strict=True):
        _column(slot.name, "ids", jagged.values, np.dtype(np.int64))
        if jagged.offsets is not None:
            _column(slot.name, "offsets", jagged.offsets, np.dtype(np.int64))
        if jagged.weights is not None:
            _column(slot.name, "weights", jagged.weights, np.dtype(np.float32))
            if len(jagged.weights) != len(jagged.values):
                raise DataError(
                    f"slot '{slot.name}' has {len(jagged.values)} ids, {len(jagged.weights)} weights"
                )
        if jagged.size != batch.size:
            raise DataError(f"slot '{slot.name}' has {jagged.size} samples but the batch has {batch.size}")
    return found


def offsets(layout: Layout, jaggeds: Sequence[Jagged]) -> None:
    """Check that offsets rise from 0 to the number of ids and that no sequence is longer than its output."""
    for slot, jagged in zip(layout.slots, jaggeds, strict=True):
        if jagged.offsets is None:
            continue
        lengths = np.diff(jagged.offsets)
        first, last, total = jagged.offsets[0], jagged.offsets[-1], len(jagged.values)
        if first != 0 or last != total or (lengths < 0).any():
            how = "but fall between" if first == 0 and last == total else f"but go from {first} to {last}"
            raise DataError(f"offsets of slot '{slot.name}' must rise from 0 to its {total} ids {how}")
        limit = layout.outputs[slot.output].length
        if slot.pool == "sequence" and len(lengths) and lengths.max() > limit:
            raise DataError(
                f"sequence '{slot.name}' has {lengths.max()} ids in sample {int(lengths.argmax())} "
                f"but its output holds {limit}; declare newest={lengths.max()} or cut the history"
            )


def _column(slot: str, what: str, array: NDArray[Any], dtype: np.dtype[Any]) -> None:
    if array.dtype != dtype or array.ndim != 1 or not array.flags.c_contiguous:
        raise DataError(f"{what} of slot '{slot}' are {_said(array)}; they must be contiguous {dtype} [n]")


def _said(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
