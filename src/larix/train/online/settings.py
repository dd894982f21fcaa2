"""How to train without end: what an online run may be told beside the `Settings` of training. Knows nothing of how."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from larix.errors import ConfigError
from larix.train.online.drift import Drift
from larix.train.schedule import Schedule

Clock = Literal["lookups", "event_time"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OnlineSettings:
    """Settings of an online run. Seconds are of the wall clock unless event time is named.

    A batch is cut at ``batch_size`` samples, or before a sample that became ready more than ``span_s`` of event time after
    the batch's first: never by the wall clock, so that a run can be repeated. ``publish_every_s``: between deltas of rows;
    ``dense_every_s``: between publications of dense weights; ``save_every_s``: between versions, each a checkpoint and a
    snapshot for new replicas. ``keep``: how many versions stay. ``window_s``: event time that a line of metrics covers.

    ``schedule`` multiplies the learning rates of both sides: a warm-up, then constant, for a run without end cannot decay;
    ``dense_scale`` and ``rows_scale`` then scale each side. ``clock``: what rows age by; ``lookups`` leaves the tables'
    clock alone, ``event_time`` sets it to the newest sample's time in seconds, so that ``embedding.TimeToLive`` and half-lives
    count seconds of event time: only for tables that were trained so from the beginning.

    ``drift``: when to hold what would be published. ``bins`` and ``budget``: see ``model.metrics.Metrics``, of the totals; a
    window has a quarter of each. ``failed``: how many batches that could not be trained on are kept as files.
    """

    batch_size: int = 1024
    span_s: float = 5.0
    publish_every_s: float = 2.0
    dense_every_s: float = 10.0
    save_every_s: float = 300.0
    keep: int = 2
    window_s: float = 60.0
    schedule: Schedule = field(default_factory=Schedule)
    dense_scale: float = 1.0
    rows_scale: float = 1.0
    clock: Clock = "lookups"
    drift: Drift = field(default_factory=Drift)
    bins: int = 1 << 14
    budget: int = 1 << 18
    failed: int = 16

    def __post_init__(self) -> None:
        for name in ("batch_size", "keep", "bins", "budget"):
            if getattr(self, name) < 1:
                raise ConfigError(f"OnlineSettings.{name} is {getattr(self, name)}; it must be at least 1")
        for name in (
            "publish_every_s",
            "dense_every_s",
            "save_every_s",
            "dense_scale",
            "rows_scale",
            "failed",
        ):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"OnlineSettings.{name} is {getattr(self, name)}; it must not be negative")
        for name in ("span_s", "window_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"OnlineSettings.{name} is {getattr(self, name)}; it must be above 0")
        if self.schedule.decay != "none":
            raise ConfigError(
                f"OnlineSettings.schedule decays ({self.schedule.decay}), but an online run has no end to decay to; use "
                "Schedule(warmup_steps=...), and dense_scale or rows_scale for a lower rate"
            )
        if self.clock not in get_args(Clock):
            raise ConfigError(
                f"OnlineSettings.clock is {self.clock!r}; it must be one of {list(get_args(Clock))}"
            )

    def to_json(self) -> dict[str, Any]:
        """What ``json`` can write."""
        return asdict(self)

    @classmethod
    def names(cls) -> list[str]:
        """The settings there are."""
        return [each.name for each in fields(cls)]
