"""How to train: everything a run may be told but what to train on what. Knows nothing of how it is done."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from larix.errors import ConfigError
from larix.model.loss import LossConfig
from larix.train.schedule import Schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of a run.

    ``batch_size`` samples a step, ``epochs`` over the data, at most ``steps`` steps (0: no limit).
    ``shuffle``: rows of the window that reading shuffles in; 0 keeps the order. ``prefetch``: batches made
    ready ahead of the step. ``staleness``: 0 looks a batch up after the update before it; k > 0 looks it up
    in the background, not yet having seen the last k updates. ``bf16``: run the network under bfloat16
    autocast. ``click``: the task whose label is a click for the scores of rows, see ``embedding.FeatureScore``; "":
    no sample has one. ``device``: where the network runs; rows stay in RAM. ``dense_schedule`` and ``rows_schedule``
    scale the two sides' learning rates. ``clip_norm``: bound on the norm of all dense gradients;
    ``clip_rows``: bound on each value of the rows' gradients; 0: none. ``average``: decay of the exponential
    moving average of dense weights (Polyak and Juditsky, 1992) that evaluation then uses; 0: none.
    ``save_every``: steps between checkpoints; 0: only at the end. ``evaluate_every``: steps between
    measurements on held-out samples; 0: only at the end. ``keep``: how many versions stay. ``log_every``:
    steps between points of the loss curve; 0: about 200 points. ``seed`` of rows, shuffling and torch, numpy
    and Python generators. ``threads`` of the tables; 0: all cores.
    """

    batch_size: int = 4096
    epochs: int = 1
    steps: int = 0
    shuffle: int = 1 << 16
    prefetch: int = 4
    staleness: int = 0
    bf16: bool = False
    click: str = ""
    device: str = "cpu"
    loss: LossConfig = field(default_factory=LossConfig)
    dense_schedule: Schedule = field(default_factory=Schedule)
    rows_schedule: Schedule = field(default_factory=Schedule)
    clip_norm: float = 0.0
    clip_rows: float = 0.0
    average: float = 0.0
    save_every: int = 0
    evaluate_every: int = 0
    keep: int = 2
    log_every: int = 0
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "prefetch", "keep"):
            if getattr(self, name) < 1:
                raise ConfigError(f"Settings.{name} is {getattr(self, name)}; it must be at least 1")
        for name in (
            "steps",
            "shuffle",
            "staleness",
            "clip_norm",
            "clip_rows",
            "save_every",
            "evaluate_every",
            "log_every",
        ):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"Settings.{name} is {getattr(self, name)}; it must not be negative")
        for name in ("seed", "threads"):
            if getattr(self, name) < 0:
                raise ConfigError(f"Settings.{name} is {getattr(self, name)}; it must not be negative")
        if self.seed >= 1 << 63:
            raise ConfigError(f"Settings.seed is {self.seed}; it must be below 2^63")
        if not 0 <= self.average < 1:
            raise ConfigError(f"Settings.average is {self.average}; it is a decay, in [0, 1), such as 0.999")

    def to_json(self) -> dict[str, Any]:
        """Return what ``json`` can write and ``from_json`` turns back into equal settings."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote; ConfigError names a setting that is not known."""
        unknown = sorted(set(given) - {known.name for known in fields(cls)})
        if unknown:
            raise ConfigError(f"Settings has no {unknown}; it has {[known.name for known in fields(cls)]}")
        read = {"loss": LossConfig, "dense_schedule": Schedule, "rows_schedule": Schedule}
        return cls(**{name: read[name](**value) if name in read else value for name, value in given.items()})
