"""Sessions: a request's side computed once and kept, to score candidates against it in rounds."""

from larix.serve.sessions.pinned import pinned
from larix.serve.sessions.session import Side
from larix.serve.sessions.sessions import Sessions
from larix.serve.sessions.settings import SessionSettings
from larix.serve.sessions.stats import SessionStats

__all__ = ["SessionSettings", "SessionStats", "Sessions", "Side", "pinned"]
