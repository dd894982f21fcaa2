"""Where samples come from: columnar files as a source, KuaiRand, a synthetic feed, conversion to Parquet."""

from larix.data import kuairand, synthetic
from larix.data.convert import convert
from larix.data.files import Files, files
from larix.data.history import Past, past
from larix.data.stream import Position, Stream

__all__ = ["Files", "Past", "Position", "Stream", "convert", "files", "kuairand", "past", "synthetic"]
