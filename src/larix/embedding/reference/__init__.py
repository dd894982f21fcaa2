"""The oracle: the parameter store in plain numpy, written to be obviously right. Knows nothing of speed or native code."""

from larix.embedding.reference.tables import Tables

__all__ = ["Tables"]
