"""The loss of all tasks together: unknown labels are left out, samples count by their weight. Knows no
network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from larix.errors import ConfigError
from larix.features import Task
from larix.features.label import rated


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """``weights``: task name -> its weight in the sum, 1 if not named. ``huber``: the error where it turns
    linear.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    huber: float = 1.0

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(
                    f"LossConfig.weights['{name}'] is {weight}; it must be finite and 0 or above"
                )
        if not (math.isfinite(self.huber) and self.huber > 0):
            raise ConfigError(f"LossConfig.huber is {self.huber}; it must be finite and above 0")


class Loss:
    """Cross-entropy on the logit of a binary task; for a regression task the Huber loss between the output
    and ``log1p(label)``, the label in seconds. A task's loss is the weighted mean over its known labels, 0 if
    there are none; the total is their sum by the tasks' weights.

    Where a binary task's negatives were kept at a rate, its logit minus the log of that rate is trained to tell kept samples
    apart: the odds among those are ``1 / rate`` times the odds of all, so that the logit itself is of the whole stream (King
    and Zeng, 2001). In other tasks' losses such a negative counts ``1 / rate`` times, as many as it stands for.

    Raises ConfigError if the config names a task that is not there.
    """

    def __init__(self, tasks: Sequence[Task], config: LossConfig | None = None) -> None:
        config = config or LossConfig()
        names = [task.name for task in tasks]
        unknown = sorted(set(config.weights) - set(names))
        if unknown:
            raise ConfigError(f"LossConfig.weights names {unknown}; the tasks are {names}")
        self.kinds = [task.kind for task in tasks]
        self.huber = config.huber
        self.rated = rated(tasks)
        self.weights = torch.tensor([config.weights.get(name, 1.0) for name in names])

    def __call__(
        self, logits: Tensor, labels: Tensor, weight: Tensor | None = None, rate: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``logits``, ``labels [B, tasks]`` (NaN: not known), ``weight [B]``, ``rate [B]`` -> total (a scalar), per task
        ``[tasks]``.

        Both are float32 whatever the logits are; the second has no gradient.
        """
        logits = logits.float()
        known = ~torch.isnan(labels)
        target = labels.masked_fill(~known, 0.0)
        if rate is not None and self.rated is not None:
            offset = torch.zeros_like(logits)
            offset[:, self.rated] = rate.log()
            logits = logits - offset
        each = torch.stack(
            [self._each(kind, logits[:, t], target[:, t]) for t, kind in enumerate(self.kinds)], dim=1
        )
        counts = known.float() if weight is None else known * weight.float().unsqueeze(1)
        if rate is not None and self.rated is not None:
            own = torch.arange(counts.shape[1], device=counts.device) == self.rated
            negative = (labels[:, self.rated] == 0).unsqueeze(1)
            counts = torch.where(negative & ~own, counts / rate.unsqueeze(1), counts)
        total = counts.sum(dim=0)
        per_task = (each * counts).sum(dim=0) / total.masked_fill(total == 0, 1.0)
        return (per_task * self.weights.to(per_task.device)).sum(), per_task.detach()

    def _each(self, kind: str, logit: Tensor, target: Tensor) -> Tensor:
        if kind == "binary":
            return functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
        return functional.huber_loss(logit, torch.log1p(target), reduction="none", delta=self.huber)
