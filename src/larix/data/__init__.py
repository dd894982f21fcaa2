"""Where samples come from: columnar files as a source, KuaiRand, a synthetic feed, conversion to Parquet."""

from larix.data import kuairand
from larix.data.files import Files, files
from larix.data.stream import Position, Stream

__all__ = ["Files", "Position", "Stream", "files", "kuairand"]
