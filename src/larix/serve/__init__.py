"""Serving: from a trained version to ranked answers under a latency budget."""

from larix.serve.refusal import Refusal, Why
from larix.serve.request import Answer, Request, Stamp
from larix.serve.scorer import Looked, Scorer, User

__all__ = [
    "Answer",
    "Looked",
    "Refusal",
    "Request",
    "Scorer",
    "Stamp",
    "User",
    "Why",
]
