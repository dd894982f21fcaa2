"""The parameter store: tables of rows by 64-bit id, their optimizers, and how they are kept on disk."""

from larix.embedding.export import export_parquet
from larix.embedding.layout import Layout, Output, Slot
from larix.embedding.lookup import Lookup, Stats
from larix.embedding.spec import SGD, Adagrad, Adam, Constant, Normal, RowAdagrad, TableSpec, Uniform
from larix.embedding.table import Tables

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "Constant",
    "Layout",
    "Lookup",
    "Normal",
    "Output",
    "RowAdagrad",
    "Slot",
    "Stats",
    "TableSpec",
    "Tables",
    "Uniform",
    "export_parquet",
]
