"""Reading past events by attention and by mean.

Knows nothing of what the events are; their order is told by time gaps, never by position.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from larix.errors import ConfigError
from larix.model.mlp import MLP, check_dropout, check_widths

AGE_SCALE = 16.0  # log1p of the seconds in about three months: brings log ages to about 0 to 1
AGE_CURVE = 8  # bends in the learned curve of the time gap


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionConfig:
    """``width`` of the result, shared evenly by ``heads``; ``dropout`` of the attention weights."""

    width: int = 32
    heads: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_widths(self, width=self.width, heads=self.heads)
        check_dropout(self, self.dropout)
        if self.width % self.heads:
            raise ConfigError(
                f"AttentionConfig.width is {self.width}, which {self.heads} heads cannot share evenly; "
                f"use a multiple of {self.heads}"
            )


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``x [B, L, W]`` over the positions where ``mask [B, L]`` is True; zeros if there are none."""
    # Padding may hold anything, NaN included, and 0 * NaN is NaN: it is replaced, not multiplied away.
    total = x.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True).clamp(min=1).to(x.dtype)


class TargetAttention(nn.Module):
    """Multi-head attention with the candidate as the only query.

    The query by candidate follows Zhou et al., "Deep Interest Network", KDD 2018. How much an event counts
    depends on its content and, if ``aged``, by a small learned curve for each head on its log time gap.
    Besides the events a head may attend to nothing, whose value is zero: no events read as zeros.
    """

    def __init__(self, target: int, events: int, config: AttentionConfig, *, aged: bool) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query = nn.Linear(target, config.width)
        self.key_value = nn.Linear(events, 2 * config.width, bias=False)
        self.age = (
            MLP(1, (AGE_CURVE,)).append(nn.Linear(AGE_CURVE, config.heads, bias=False)) if aged else None
        )
        self.nothing = nn.Parameter(torch.zeros(config.heads))

    def forward(self, target: Tensor, events: Tensor, log_age: Tensor | None, mask: Tensor) -> Tensor:
        """``target [B, T]``, ``events [B, L, E]``, ``log_age [B, L]`` (log1p seconds; None if not ``aged``),
        ``mask [B, L]`` -> ``[B, width]``.
        """
        assert (log_age is None) == (self.age is None)
        size, length, _ = events.shape
        events = events.masked_fill(~mask.unsqueeze(-1), 0.0)
        query = self.query(target).view(size, self.heads, -1)
        key, value = self.key_value(events).view(size, length, 2, self.heads, -1).unbind(2)
        scores = torch.einsum("bhd,blhd->bhl", query, key) / math.sqrt(query.shape[-1])
        if self.age is not None and log_age is not None:
            age = log_age.masked_fill(~mask, 0.0).unsqueeze(-1) / AGE_SCALE
            scores = scores + self.age(age).transpose(1, 2)
        scores = scores.float().masked_fill(~mask.unsqueeze(1), -math.inf)
        nothing = self.nothing.float().view(1, -1, 1).expand(size, -1, 1)
        weights = torch.softmax(torch.cat([scores, nothing], dim=2), dim=2)[..., :-1]
        weights = functional.dropout(weights, self.dropout, self.training).to(value.dtype)
        return torch.einsum("bhl,blhd->bhd", weights, value).flatten(1)
