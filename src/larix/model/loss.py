"""The loss of all tasks together: unknown labels are left out, samples count by their weight. Knows no
network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise

import torch
from torch import Tensor
from torch.nn import functional

from larix.errors import ConfigError
from larix.features import Task

_NOTHING = 1e-30  # less than any weight of samples: what is divided by where a task has no known label


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

    Raises ConfigError if the config names a task that is not there.
    """

    def __init__(self, tasks: Sequence[Task], config: LossConfig | None = None) -> None:
        config = config or LossConfig()
        names = [task.name for task in tasks]
        unknown = sorted(set(config.weights) - set(names))
        if unknown:
            raise ConfigError(f"LossConfig.weights names {unknown}; the tasks are {names}")
        # Neighbours of one kind are one call: it is small work, and each call costs as much as its rows do.
        ends = [*accumulate(len(list(run)) for _, run in groupby(task.kind for task in tasks))]
        self.runs = [(tasks[end - 1].kind, slice(begin, end)) for begin, end in pairwise([0, *ends])]
        self.huber = config.huber
        self.weights = torch.tensor([config.weights.get(name, 1.0) for name in names])

    def __call__(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``logits``, ``labels [B, tasks]`` (NaN: not known), ``weight [B]`` -> total (a scalar), per task
        ``[tasks]``.

        Both are float32 whatever the logits are; the second has no gradient.
        """
        logits = logits.float()
        known = ~torch.isnan(labels)
        target = labels.nan_to_num(0.0, math.inf, -math.inf)
        counts = known.float() if weight is None else known * weight.float().unsqueeze(1)
        share = counts / counts.sum(dim=0).clamp(min=_NOTHING)
        per_task = torch.cat(
            [
                self._each(kind, logits[:, run], target[:, run], share[:, run]).sum(dim=0)
                for kind, run in self.runs
            ]
        )
        return per_task @ self.weights.to(per_task.device), per_task.detach()

    def _each(self, kind: str, logits: Tensor, target: Tensor, share: Tensor) -> Tensor:
        if kind == "binary":
            return functional.binary_cross_entropy_with_logits(logits, target, share, reduction="none")
        return share * functional.huber_loss(logits, torch.log1p(target), reduction="none", delta=self.huber)
