"""The topic that an online run publishes its changes to. Knows the log; knows nothing of rows or of training."""

from dataclasses import dataclass

from larix.data.log import EventLog


@dataclass(frozen=True, kw_only=True, slots=True)
class Deltas:
    """Where deltas go: one partition of ``topic`` in ``log``, made if it is not there. Messages of at most ``chunk`` bytes."""

    log: EventLog
    topic: str = "deltas"
    chunk: int = 768 << 10
