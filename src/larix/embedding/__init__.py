"""The parameter store: tables of rows by 64-bit id, their optimizers, and how they are kept on disk."""

from larix.embedding.admission import ByChance, ByCount
from larix.embedding.changes import Changes, fold
from larix.embedding.cold import ColdStats
from larix.embedding.delta import DeltaLog
from larix.embedding.delta_follower import DeltaFollower, Stand
from larix.embedding.eviction import FeatureScore, LeastFrequent, LeastRecent, TimeToLive
from larix.embedding.export import export_parquet, export_safetensors
from larix.embedding.follow import Follower
from larix.embedding.init import Constant, Normal, Uniform
from larix.embedding.layout import Layout, Output, Slot
from larix.embedding.levels import Levels, LevelStats
from larix.embedding.lookup import Lookup, Stats
from larix.embedding.optimizer import FTRL, LAMB, SGD, Adagrad, Adam, AdamW, Momentum, RowAdagrad
from larix.embedding.reading import Reading
from larix.embedding.replica import Replica, ReplicaStats
from larix.embedding.schedule import CosineDecay, InverseSqrtDecay, StepDecay, Warmup
from larix.embedding.shard import Shard
from larix.embedding.snapshot import Instant, Piece, Snapshot
from larix.embedding.spec import TableSpec
from larix.embedding.table import Tables
from larix.embedding.updater import Updater
from larix.embedding.wire import Message

__all__ = [
    "FTRL",
    "LAMB",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ByChance",
    "ByCount",
    "Changes",
    "ColdStats",
    "Constant",
    "CosineDecay",
    "DeltaFollower",
    "DeltaLog",
    "FeatureScore",
    "Follower",
    "Instant",
    "InverseSqrtDecay",
    "Layout",
    "LeastFrequent",
    "LeastRecent",
    "LevelStats",
    "Levels",
    "Lookup",
    "Message",
    "Momentum",
    "Normal",
    "Output",
    "Piece",
    "Reading",
    "Replica",
    "ReplicaStats",
    "RowAdagrad",
    "Shard",
    "Slot",
    "Snapshot",
    "Stand",
    "Stats",
    "StepDecay",
    "TableSpec",
    "Tables",
    "TimeToLive",
    "Uniform",
    "Updater",
    "Warmup",
    "export_parquet",
    "export_safetensors",
    "fold",
]
