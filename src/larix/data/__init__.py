"""Where samples come from: columnar files, the event log and its join, KuaiRand, a synthetic feed; conversion to Parquet."""

from larix.data import join, kuairand, log, synthetic
from larix.data.convert import convert
from larix.data.files import Files, files
from larix.data.history import Past, past
from larix.data.stream import Position, Stream

__all__ = [
    "Files",
    "Past",
    "Position",
    "Stream",
    "convert",
    "files",
    "join",
    "kuairand",
    "log",
    "past",
    "synthetic",
]
