"""A dated log replayed as events: through the log, the join, online training and a follower, as if it happened now."""

from larix.recipes.replay.account import Standing
from larix.recipes.replay.place import Place, Told
from larix.recipes.replay.replay import replay

__all__ = ["Place", "Standing", "Told", "replay"]
