"""Placeholder face of the data room."""
