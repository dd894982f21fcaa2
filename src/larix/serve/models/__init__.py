"""Which version of which model answers: loaded, swapped, rolled back, tried on a share of users or beside the others."""

from larix.serve.models.canary import Canary

__all__ = [
    "Canary",
]
