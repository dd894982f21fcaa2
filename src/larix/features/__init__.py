"""Features: one declaration of a sample, used by training and serving alike."""

from larix.features.bucket import Bucket
from larix.features.dense import Dense
from larix.features.ids import Cross, Id, Ids, parse_id
from larix.features.label import Binary, Seconds, Task
from larix.features.sample import Feature, Sample
from larix.features.sequence import LogAge, Sequence, SequenceSlots
from larix.features.slot import IdSlot
from larix.features.timepart import Hour, Weekday
from larix.features.transform import transform

__all__ = [
    "Binary",
    "Bucket",
    "Cross",
    "Dense",
    "Feature",
    "Hour",
    "Id",
    "IdSlot",
    "Ids",
    "LogAge",
    "Sample",
    "Seconds",
    "Sequence",
    "SequenceSlots",
    "Task",
    "Weekday",
    "parse_id",
    "transform",
]
