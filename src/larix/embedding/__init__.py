"""The parameter store: tables of rows by 64-bit id, their optimizers, and how they are kept on disk."""

from larix.embedding.changes import Changes, fold
from larix.embedding.delta import DeltaLog
from larix.embedding.export import export_parquet, export_safetensors
from larix.embedding.follow import Follower
from larix.embedding.layout import Layout, Output, Slot
from larix.embedding.lookup import Lookup, Stats
from larix.embedding.snapshot import Instant, Piece, Snapshot
from larix.embedding.spec import SGD, Adagrad, Adam, Constant, Normal, RowAdagrad, TableSpec, Uniform
from larix.embedding.table import Tables

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "Changes",
    "Constant",
    "DeltaLog",
    "Follower",
    "Instant",
    "Layout",
    "Lookup",
    "Normal",
    "Output",
    "Piece",
    "RowAdagrad",
    "Slot",
    "Snapshot",
    "Stats",
    "TableSpec",
    "Tables",
    "Uniform",
    "export_parquet",
    "export_safetensors",
    "fold",
]
