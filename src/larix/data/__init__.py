"""Where samples come from: columnar files as a source, the event log, KuaiRand, a synthetic feed, conversion to Parquet."""

from larix.data import kuairand, log, synthetic
from larix.data.convert import convert
from larix.data.files import Files, files
from larix.data.history import Past, past
from larix.data.stream import Position, Stream

__all__ = ["Files", "Past", "Position", "Stream", "convert", "files", "kuairand", "log", "past", "synthetic"]
