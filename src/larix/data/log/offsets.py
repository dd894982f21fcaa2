"""Where a consumer stands: a small value that a checkpoint can hold. Knows nothing of consumers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from larix.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Offsets:
    """The offset of the next event to read, by partition of ``topic``; and the log's own id, so that it fits no other."""

    log: str
    topic: str
    next: Mapping[int, int]

    def to_json(self) -> dict[str, Any]:
        """What `json.dumps` takes."""
        return {
            "log": self.log,
            "topic": self.topic,
            "next": {str(partition): offset for partition, offset in sorted(self.next.items())},
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """The value that `to_json` gave.

        Raises:
            DataError: it is something else.
        """
        try:
            offsets = {int(partition): offset for partition, offset in said["next"].items()}
            found = cls(log=str(said["log"]), topic=str(said["topic"]), next=offsets)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DataError(f"{json.dumps(said)[:80]} is no position in a log: {error!r}") from error
        if not all(type(offset) is int and offset >= 0 for offset in offsets.values()):
            raise DataError(
                f"{json.dumps(said)[:80]} is no position in a log: offsets are whole numbers from 0"
            )
        return found

    def fits(self, log: str, topic: str) -> None:
        """Check that this was said of ``topic`` of ``log``.

        Raises:
            ConfigError: it was not.
        """
        if self.topic != topic:
            raise ConfigError(f"the position is of topic '{self.topic}', not of '{topic}'")
        if self.log != log:
            raise ConfigError(
                f"the position is of log {self.log}, but this log is {log}: offsets of one say nothing in the other; "
                "open the log that it was taken in, or start without a position"
            )
