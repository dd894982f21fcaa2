"""How long events are kept, and which segments go. Knows nothing of topics or of who still reads."""

from dataclasses import dataclass
from itertools import pairwise

from larix.data.log.place import Place
from larix.data.log.segment import Segment
from larix.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The oldest segments go while all their events are older than ``age_s`` or the partition is above ``size_bytes``.

    The newest segment always stays. None sets no limit. A consumer that was too slow is told what it lost.
    """

    age_s: float | None = None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("age_s", self.age_s), ("size_bytes", self.size_bytes)):
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}; give None to keep everything")


def expire(place: Place, retention: Retention, now_ms: int) -> int:
    """Remove the oldest segments of a partition as ``retention`` asks; return how many. Only its writer may.

    A segment's age is told by the largest time up to its end, so that a clock that jumped removes nothing early.
    """
    there = place.segments()
    sizes = [place.segment(first).stat().st_size for first in there]
    removed = 0
    for first, following in pairwise(there):
        large = retention.size_bytes is not None and sum(sizes[removed:]) > retention.size_bytes
        if not large and not _older(place, following, retention, now_ms):
            break
        place.segment(first).unlink(missing_ok=True)
        place.index(first).unlink(missing_ok=True)
        removed += 1
    return removed


def _older(place: Place, following: int, retention: Retention, now_ms: int) -> bool:
    """Whether all before the segment ``following`` is: the first time of that bounds the last of this from above."""
    if retention.age_s is None:
        return False
    with Segment(place, following) as segment:
        _, header = segment.seek_time(-(1 << 62))
    return header is not None and header.latest_ms < now_ms - retention.age_s * 1000
