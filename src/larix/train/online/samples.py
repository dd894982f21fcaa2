"""Where an online run's samples come from, in an order that is the same whenever they are read again.

Knows logs; knows nothing of batches or of training.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa


class Samples(Protocol):
    """Samples as they come, with a state that goes into the run's checkpoint."""

    def poll(self, timeout_s: float) -> pa.Table:
        """What there is, or what comes within the time; without rows if nothing did. Bounded, however far behind."""

    def finish(self) -> pa.Table:
        """What was held back until more would come: called when no more will."""

    @property
    def lag(self) -> int:
        """How much is there and was not handed out yet: samples, or the events that they will be made of."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Where it stands, as JSON values; what is too large for that in a folder of its own below ``folder``.

        Such a folder vouches for its files by a ``manifest.json`` of their checksums. After the samples polled so far.
        """

    def restore(self, said: Mapping[str, Any], folder: Path) -> None:
        """Go on from what ``save`` said and wrote."""

    def close(self) -> None:
        """Let go of files and connections."""
