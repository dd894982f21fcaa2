"""The command line."""

from larix.cli.main import main

__all__ = ["main"]
