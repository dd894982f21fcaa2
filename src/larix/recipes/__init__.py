"""Placeholder face of the recipes room."""
