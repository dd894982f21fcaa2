"""The sample join: impressions and actions of an event log become labelled samples, by one declaration."""

from larix.data.join.joiner import Joiner
from larix.data.join.spec import Action, Clicked, Downsample, Impressions, JoinSpec, Toggle, Total
from larix.data.join.stats import JoinStats

__all__ = [
    "Action",
    "Clicked",
    "Downsample",
    "Impressions",
    "JoinSpec",
    "JoinStats",
    "Joiner",
    "Toggle",
    "Total",
]
