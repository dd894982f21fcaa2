"""Which partition an event goes to, by its key: whoever appends asks here, so that all of one key stay in order.

Knows nothing of logs. What it says may never change: keys would move, and with them what is late.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from larix.data.join import typed
from larix.errors import DataError

_FITS = (
    pa.types.is_integer,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_null,
)


def partitions(keys: pa.Array, count: int) -> NDArray[np.int64]:
    """The partition of each key, from 0 to ``count - 1``: the XXH3-64 (int64) of its text modulo ``count``.

    So 7 and "7" go to one, and null to that of the empty text. DataError if keys are neither whole numbers nor text.
    """
    kind = keys.type.value_type if pa.types.is_dictionary(keys.type) else keys.type
    if not any(fits(kind) for fits in _FITS):
        raise DataError(
            f"events cannot be keyed by a column of {keys.type}; take one of whole numbers or text"
        )
    texts, _ = typed.texts(keys)
    return typed.hashes(pc.fill_null(texts, "")) % count
