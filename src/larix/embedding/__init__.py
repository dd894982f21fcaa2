"""Placeholder face of the embedding room."""
