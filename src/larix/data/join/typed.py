"""Columns as a join needs them, whatever producers made of them: keys and ids, times, numbers, and what `where` asks.

A value that cannot be had is told apart, never guessed and never an error. Knows nothing of events.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from larix.data.join.spec import LATEST_MS, Value
from larix.features import kernels

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_WHOLE: Final = r"^-?[0-9]{1,18}$"
_DECIMAL: Final = r"^-?[0-9]{1,30}(\.[0-9]{1,30})?$"
_EXACT: Final = 2.0**53


def integers(values: pa.Array) -> tuple[Ints, Mask]:
    """Whole numbers of any type as int64, and which could be had: 2.0 and "2" can, 2.5, True and null cannot."""
    values = _plain(values)
    kind, count = values.type, len(values)
    good = np.ones(count, bool) if not values.null_count else np.asarray(values.is_valid())
    if pa.types.is_signed_integer(kind):
        return _filled(values, 0).cast(pa.int64()).to_numpy(), good
    if pa.types.is_unsigned_integer(kind):
        big = _filled(values, 0).cast(pa.uint64()).to_numpy()
        return big.view(np.int64), good & (big < 1 << 63)
    if pa.types.is_floating(kind):
        floats = _filled(values.cast(pa.float64()), np.nan).to_numpy()
        good = (np.floor(floats) == floats) & (np.abs(floats) <= _EXACT)
        return np.where(good, floats, 0.0).astype(np.int64), good
    if pa.types.is_string(kind):
        return _read(values, _WHOLE, pa.int64())
    return np.zeros(count, np.int64), np.zeros(count, bool)


def texts(values: pa.Array) -> tuple[pa.Array, Mask]:
    """Text and whole numbers as strings, and which could be had."""
    values = _plain(values)
    if pa.types.is_integer(values.type):
        values = values.cast(pa.string())
    elif not pa.types.is_string(values.type):
        return pa.nulls(len(values), pa.string()), np.zeros(len(values), bool)
    return values, np.ones(len(values), bool) if not values.null_count else np.asarray(values.is_valid())


def hashes(values: pa.Array) -> Ints:
    """XXH3-64 of strings, as features hash them; of null, anything."""
    reads = kernels.Reads()
    out, _ = reads.ids(kernels.flat(values, kernels.Kind.text32), None)
    reads.run(1)
    return out


def times(values: pa.Array) -> Ints:
    """Milliseconds since the epoch, of whole numbers or timestamps; -1 where they cannot be had."""
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("ms", values.type.tz), safe=False).cast(pa.int64())
    found, good = integers(values)
    good = good & (found >= 0) & (found < LATEST_MS)
    return found if good.all() else np.where(good, found, -1)


def numbers(values: pa.Array) -> NDArray[np.float64]:
    """Numbers, bools and decimal text as float64; 0 where null, not finite, or no number."""
    values = _plain(values)
    kind = values.type
    if pa.types.is_string(kind):
        read: NDArray[np.float64] = _read(values, _DECIMAL, pa.float64())[0]
        return read
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return np.zeros(len(values))
    floats = (
        _filled(values, False if pa.types.is_boolean(kind) else 0).cast(pa.float64(), safe=False).to_numpy()
    )
    return floats if np.isfinite(floats).all() else np.where(np.isfinite(floats), floats, 0.0)


def matches(values: pa.Array, wanted: Value) -> Mask:
    """Where a column is ``wanted``: text, a whole number or a bool, each only in a column of such."""
    values = _plain(values)
    fits: Callable[[pa.DataType], bool]
    if isinstance(wanted, bool):
        fits = pa.types.is_boolean
    else:
        fits = pa.types.is_string if isinstance(wanted, str) else pa.types.is_integer
    if not fits(values.type):
        return np.zeros(len(values), bool)
    try:
        scalar = pa.scalar(wanted, values.type)
    except (pa.ArrowException, OverflowError):
        return np.zeros(len(values), bool)
    return np.asarray(_filled(pc.equal(values, scalar), False))


def _plain(values: pa.Array) -> pa.Array:
    """The values without a dictionary, text as string."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    return values


def _filled(values: pa.Array, value: float | bool) -> pa.Array:
    return pc.fill_null(values, pa.scalar(value, values.type)) if values.null_count else values


def _read(values: pa.Array, pattern: str, kind: pa.DataType) -> tuple[Any, Mask]:
    """The numbers that texts say; 0 where one says none."""
    good = np.asarray(_filled(pc.match_substring_regex(values, pattern), False))
    out = np.zeros(len(values), kind.to_pandas_dtype())
    out[good] = values.filter(pa.array(good)).cast(kind).to_numpy()
    return out, good
