"""Training without end: samples as they come, deltas to those who serve."""

from larix.train.online.deltas import Deltas
from larix.train.online.drift import Drift
from larix.train.online.joined import JoinedSamples
from larix.train.online.online import Outcome, online
from larix.train.online.replica import Replica
from larix.train.online.rollback import rollback
from larix.train.online.samples import LoggedSamples, Samples
from larix.train.online.settings import OnlineSettings
from larix.train.online.watcher import Alarm, Progress, Published, Saved, Silent, Tested, Watcher, Window

__all__ = [
    "Alarm",
    "Deltas",
    "Drift",
    "JoinedSamples",
    "LoggedSamples",
    "OnlineSettings",
    "Outcome",
    "Progress",
    "Published",
    "Replica",
    "Samples",
    "Saved",
    "Silent",
    "Tested",
    "Watcher",
    "Window",
    "online",
    "rollback",
]
