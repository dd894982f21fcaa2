"""Placeholder face of the model room."""
