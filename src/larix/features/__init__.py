"""Placeholder face of the features room."""
