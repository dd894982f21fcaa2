"""Which version of which model answers: loaded, swapped, rolled back, tried on a share of users or beside the others."""

from larix.serve.models.canary import Canary
from larix.serve.models.difference import Difference
from larix.serve.models.edition import Edition, Loader, Still
from larix.serve.models.following import Following, Source
from larix.serve.models.loading import Loading
from larix.serve.models.model import Model
from larix.serve.models.repository import Repository
from larix.serve.models.shadow import ShadowReport

__all__ = [
    "Canary",
    "Difference",
    "Edition",
    "Following",
    "Loader",
    "Loading",
    "Model",
    "Repository",
    "ShadowReport",
    "Source",
    "Still",
]
