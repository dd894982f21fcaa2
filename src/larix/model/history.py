"""A behaviour sequence as two vectors: what the candidate recalls of it, and what it is on the whole.

Knows the elements by their names only; knows nothing of the rest of the sample.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from larix.errors import ConfigError
from larix.features import SequenceSlots
from larix.model.attention import AttentionConfig, TargetAttention, masked_mean
from larix.model.inputs import SequenceInput
from larix.model.mlp import MLP, check_dropout, check_widths


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryConfig:
    """How one sequence is read.

    ``age``: the element that is the log time gap, None if the sequence has none. ``outcomes``: the elements
    that tell what came of an event (actions, play time). They are hidden while the event is younger than
    ``settle`` seconds; the event itself is seen at once. ``width`` of an encoded event, ``dropout`` on it.

    Why hide them: they are the same for all candidates of a moment, so they cannot order them. They tell
    moments of one user apart, and there they mislead: of a user with one click in two impressions, who
    clicked the first did not click the second. Fresh outcomes raise the AUC over all users a little and lower
    GAUC much. On a live feed labels arrive late anyway, so a model that leans on the last minutes' outcomes
    serves without them.
    """

    age: str | None = None
    outcomes: tuple[str, ...] = ()
    settle: float = 0.0
    width: int = 32
    dropout: float = 0.0
    attention: AttentionConfig = field(default_factory=AttentionConfig)

    def __post_init__(self) -> None:
        check_widths(self, width=self.width)
        check_dropout(self, self.dropout)
        if not (math.isfinite(self.settle) and self.settle >= 0):
            raise ConfigError(f"HistoryConfig.settle is {self.settle}; it must be seconds, 0 or more")
        if self.settle > 0 and self.age is None:
            raise ConfigError(
                "HistoryConfig.settle needs each event's age; name the LogAge element with age='...'"
            )


class HistoryReader(nn.Module):
    """Target attention over the encoded events, their mean, and the log of how many there are, side by side.

    ``features``: how many columns that makes. Raises ConfigError if the config names an element that is not
    there.
    """

    outcome: Tensor

    def __init__(self, target: int, slots: SequenceSlots, config: HistoryConfig) -> None:
        super().__init__()
        dims = {name: slot.dim for name, slot in slots.ids.items()} | dict.fromkeys(slots.dense, 1)
        for name in config.outcomes:
            if name not in dims:
                raise ConfigError(f"HistoryConfig.outcomes names '{name}'; the sequence has {sorted(dims)}")
        if config.age is not None and config.age not in slots.dense:
            raise ConfigError(
                f"HistoryConfig.age is '{config.age}'; the sequence's numbers are {slots.dense}"
            )
        outcome = torch.cat([torch.full((dim,), name in config.outcomes) for name, dim in dims.items()])
        self.register_buffer("outcome", outcome, persistent=False)
        self.age = None if config.age is None else slots.dense.index(config.age)
        self.settle = math.log1p(config.settle)
        self.encode = MLP(len(outcome) + 1, (config.width,), config.dropout)
        self.attend = TargetAttention(target, config.width, config.attention, aged=config.age is not None)
        self.features = config.attention.width + config.width + 1

    def forward(self, target: Tensor, sequence: SequenceInput) -> Tensor:
        """``target [B, T]`` -> ``[B, features]``."""
        mask = sequence.mask
        x = torch.cat([sequence.rows, sequence.dense], dim=2)
        if self.age is None:
            log_age, settled = None, mask
        else:
            log_age = sequence.dense[..., self.age]
            settled = mask & (log_age >= self.settle)
        # Padding may hold anything, NaN included: it is replaced before a weight's gradient could meet it.
        x = x.masked_fill(~mask.unsqueeze(-1) | (~settled.unsqueeze(-1) & self.outcome), 0.0)
        events = self.encode(torch.cat([x, settled.unsqueeze(-1).to(x.dtype)], dim=2))
        recalled = self.attend(target, events, log_age, mask)
        count = torch.log1p(mask.sum(dim=1, keepdim=True).to(events.dtype))
        return torch.cat([recalled, masked_mean(events, mask), count], dim=1)
