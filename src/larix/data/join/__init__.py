"""The sample join: impressions and actions of an event log become labelled samples, by one declaration."""

from larix.data.join.joiner import Joiner
from larix.data.join.spec import Action, Clicked, Downsample, Impressions, JoinSpec, Toggle, Total
from larix.data.join.stats import JoinStats
from larix.data.join.topics import Topics

__all__ = [
    "Action",
    "Clicked",
    "Downsample",
    "Impressions",
    "JoinSpec",
    "JoinStats",
    "Joiner",
    "Toggle",
    "Topics",
    "Total",
]
