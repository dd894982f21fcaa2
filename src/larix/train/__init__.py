"""Placeholder face of the train room."""
