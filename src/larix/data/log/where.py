"""An event log by the words that name it: a folder, or a Kafka. Knows nothing of what is in it."""

from pathlib import Path

from larix.data.log.disk import DiskLog
from larix.data.log.kafka import KafkaLog
from larix.data.log.log import EventLog
from larix.errors import ConfigError

_KAFKA = "kafka://"


def log_at(where: str, *, make: bool = False) -> EventLog:
    """The log at a folder, or at ``kafka://HOST:PORT``. ConfigError if there is none and it is not to be made."""
    if where.startswith(_KAFKA):
        return KafkaLog(where.removeprefix(_KAFKA))
    if not make and not (Path(where) / "log.json").exists():
        raise ConfigError(f"'{where}' is no event log; give a log's folder, or kafka://HOST:PORT")
    return DiskLog(where)
