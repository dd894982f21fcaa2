"""What became of every event, in numbers. Knows nothing of how it was judged."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from larix.data.join.spec import JoinSpec
from larix.errors import DataError


@dataclass(slots=True)
class Fate:
    """Events of one kind since the start: each is accepted or dropped for one reason.

    ``orphans`` are the accepted actions that found no impression: it is known when the watermark has passed them.
    """

    accepted: int = 0
    null: int = 0  # key, time or event id null or unreadable
    future: int = 0
    late: int = 0
    duplicate: int = 0
    orphans: int = 0


@dataclass(slots=True, kw_only=True)
class JoinStats:
    """Counts since the start, restarts included: ``kinds`` by `Fate`, and what came out.

    ``passed_over`` are events of no declared kind, by topic; ``samples`` came out, ``corrections`` too (at once);
    ``left_out`` are negatives that down-sampling dropped; ``unfit`` are values of impressions' columns that are not of
    the type their column had before, and are null in the samples.
    """

    kinds: dict[str, Fate]
    passed_over: dict[str, int]
    samples: int = 0
    corrections: int = 0
    left_out: int = 0
    unfit: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: JoinSpec) -> "JoinStats":
        """All zero."""
        return cls(kinds={name: Fate() for name in spec.kinds}, passed_over=dict.fromkeys(spec.topics, 0))

    def to_json(self) -> dict[str, Any]:
        """What `json.dumps` takes and `from_json` turns back into equal counts."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "JoinStats":
        """The counts that `to_json` gave.

        Raises:
            DataError: it is something else.
        """
        try:
            given = dict(said)
            return cls(kinds={name: Fate(**fate) for name, fate in given.pop("kinds").items()}, **given)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DataError(f"these are no counts of a join: {error!r}") from error
