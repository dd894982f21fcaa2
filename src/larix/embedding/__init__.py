"""The parameter store: tables of rows by 64-bit id, their optimizers, and how they are kept on disk."""

from larix.embedding.admission import ByChance, ByCount
from larix.embedding.eviction import FeatureScore, LeastFrequent, LeastRecent, TimeToLive
from larix.embedding.export import export_parquet
from larix.embedding.layout import Layout, Output, Slot
from larix.embedding.lookup import Lookup, Stats
from larix.embedding.spec import SGD, Adagrad, Adam, Constant, Normal, RowAdagrad, TableSpec, Uniform
from larix.embedding.table import Tables

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "ByChance",
    "ByCount",
    "Constant",
    "FeatureScore",
    "Layout",
    "LeastFrequent",
    "LeastRecent",
    "Lookup",
    "Normal",
    "Output",
    "RowAdagrad",
    "Slot",
    "Stats",
    "TableSpec",
    "Tables",
    "TimeToLive",
    "Uniform",
    "export_parquet",
]
