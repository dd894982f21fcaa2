"""What is counted of sessions, as plain numbers. Knows nothing of who shows it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionStats:
    """Now: ``open`` sessions, ``bearers`` who hold some, ``side_bytes``, ``answers`` remembered and their ``answer_bytes``.

    Since the start: ``opened``; ``closed`` by who opened them, ``expired``, ``drained``; ``full``: not opened as bytes ran out;
    ``scored``; ``repeated``: opens and scores that were retries and got what there was; ``forgotten`` answers; ``unknown``:
    requests with an id that is none of the bearer's, ``ended``: with one that had ended.
    """

    open: int = 0
    bearers: int = 0
    side_bytes: int = 0
    answers: int = 0
    answer_bytes: int = 0
    opened: int = 0
    closed: int = 0
    expired: int = 0
    drained: int = 0
    full: int = 0
    scored: int = 0
    repeated: int = 0
    forgotten: int = 0
    unknown: int = 0
    ended: int = 0

    @property
    def gauges(self) -> Mapping[str, float]:
        """By name, as `ServiceStats.gauges` has them; what is counted since the start ends in ``_total``."""
        now = ("open", "bearers", "side_bytes", "answers", "answer_bytes")
        return {
            f"sessions_{name}" if name in now else f"sessions_{name}_total": float(value)
            for name, value in asdict(self).items()
        }
