"""How far a run has come. Knows nothing of what was learned on the way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from larix.data import Position


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """How far: steps and samples done, the seconds they took (without measuring on held-out samples), and where the
    stream stood then (None: at its start).
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    position: Position | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what ``json`` can write and ``from_json`` turns back into an equal point."""
        position = None if self.position is None else self.position.to_json()
        return {"step": self.step, "samples": self.samples, "seconds": self.seconds, "position": position}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        position = given["position"]
        return cls(**{**given, "position": None if position is None else Position.from_json(position)})
