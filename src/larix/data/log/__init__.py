"""The event log: append record batches, follow them, replay them; on disk, or in Kafka."""

from larix.data.log.columns import Column
from larix.data.log.consumer import Consumer
from larix.data.log.disk import DiskLog
from larix.data.log.events import Events
from larix.data.log.kafka import KafkaLog
from larix.data.log.lease import Lease, LeaseError
from larix.data.log.letters import DeadLetter
from larix.data.log.letters import read as read_letters
from larix.data.log.log import EventLog
from larix.data.log.offsets import Offsets
from larix.data.log.retention import Retention
from larix.data.log.where import log_at

__all__ = [
    "Column",
    "Consumer",
    "DeadLetter",
    "DiskLog",
    "EventLog",
    "Events",
    "KafkaLog",
    "Lease",
    "LeaseError",
    "Offsets",
    "Retention",
    "log_at",
    "read_letters",
]
