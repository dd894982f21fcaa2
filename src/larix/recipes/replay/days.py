"""Which samples are of the days that count, told by their keys and times. Knows nothing of what is measured."""

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from larix.data import Files
from larix.data.unjoin import key_of
from larix.recipes.replay.place import Told


class Measured:
    """Says of rows with ``key`` and ``time_ms`` which are of the day ``told.measured`` or later, as the log counts days.

    A log may count an impression to the day when it was written down. So that a replay is measured on the very samples
    that a test of those days is, those whose day is not that of their time are kept by key: few, around midnight.
    """

    def __init__(self, samples: Files, told: Told) -> None:
        zone = timezone(timedelta(hours=samples.utc_offset_hours))
        midnight = datetime.combine(date.fromisoformat(told.measured), datetime.min.time(), zone)
        self._from_ms = int(midnight.timestamp() * 1000)
        earlier = (date.fromisoformat(told.measured) - timedelta(days=1)).isoformat()
        self._after = _keys(samples.between(told.measured, None), told, self._from_ms, later=False)
        self._before = _keys(samples.between(None, earlier), told, self._from_ms, later=True)

    def __call__(self, rows: pa.RecordBatch | pa.Table) -> NDArray[np.bool_]:
        """Which of ``rows`` count, bool ``[n]``."""
        found: NDArray[np.bool_] = rows["time_ms"].to_numpy() >= self._from_ms
        for keys, counted in ((self._after, True), (self._before, False)):
            if len(keys):
                found = np.where(pc.is_in(rows["key"], keys).to_numpy(zero_copy_only=False), counted, found)
        return found


def _keys(samples: Files, told: Told, from_ms: int, *, later: bool) -> pa.Array:
    """Keys of the samples whose time is at ``from_ms`` or ``later``; or those before it."""
    time = samples.time
    found = []
    with samples.stream(columns=list(dict.fromkeys((*told.identity, time))), batch_size=1 << 16) as stream:
        for records in stream:
            times = records[time].to_numpy()
            some = records.filter(pa.array(times >= from_ms if later else times < from_ms))
            found.append(key_of(some, told.identity))
    return pa.concat_arrays(found) if found else pa.array([], pa.string())
