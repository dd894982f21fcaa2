"""How a recipe's run goes on learning from events. Knows nothing of logs, of processes or of any data set."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from larix.data.unjoin import Unjoin
from larix.errors import ConfigError
from larix.train.online import OnlineSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """The online side of a recipe.

    ``unjoin``: how its samples, of the schema given, are taken apart into the events that a replay sends. ``settings``: of
    the online run. ``still``: slots and sequences whose rows it reads and leaves as they were trained. ``item``: the column
    that says what was shown, so that new items can be told apart. ``window_s`` and ``lateness_s``: of the join, event time.
    ``since``: what a row of features becomes by what happened after it, oldest first; None if nobody can say. ``acts``: what
    somebody can do with an item, by a word, as the labels that are not 0 then; ``ignored``: those of what is left alone.
    """

    unjoin: Callable[[pa.Schema], Unjoin]
    settings: OnlineSettings
    item: str
    still: tuple[str, ...] = ()
    window_s: float = 1800.0
    lateness_s: float = 60.0
    since: Callable[[Mapping[str, Any], Iterable[Mapping[str, Any]]], dict[str, Any]] | None = None
    acts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("window_s", "lateness_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"Live.{name} is {getattr(self, name)}; it must not be negative")
