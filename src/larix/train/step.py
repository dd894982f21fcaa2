"""One step of training: a batch and its looked-up rows in, better weights and rows out.

Knows nothing of where batches come from, of epochs or of files.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from larix.batch import Batch, Floats
from larix.errors import ConfigError, DataError, NumericsError
from larix.model.embed import Embed, leaves_of
from larix.model.inputs import Inputs
from larix.model.loss import Loss
from larix.train.settings import Settings

Apply = Callable[[Inputs, float, Floats | None], None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Learner:
    """All that a step changes, and its loss. ``average``: the moving average of its weights, if any."""

    ranker: nn.Module
    embed: Embed
    optimizer: torch.optim.Optimizer
    loss: Loss
    average: AveragedModel | None = None


def step(
    learner: Learner,
    batch: Batch,
    inputs: Inputs,
    settings: Settings,
    *,
    dense_scale: float = 1.0,
    rows_scale: float = 1.0,
    apply: Apply | None = None,
) -> Tensor:
    """Take one step on ``batch``, looked up as ``inputs``; return the tasks' losses, float32 ``[tasks]``.

    ``dense_scale`` and ``rows_scale`` multiply the learning rates. ``apply`` sends the rows' gradients off:
    ``learner.embed.apply`` unless told otherwise. NumericsError if a loss or a gradient is not finite;
    nothing has been changed then. ConfigError if the ranker's outputs are not ``[size, tasks]``.
    """
    if batch.labels is None:
        raise DataError("the batch has no labels; transform it with labels=True to train on it")
    labels = learner.embed.send(batch.labels)
    weight = None if batch.weight is None else learner.embed.send(batch.weight)
    rate = None if batch.rate is None else learner.embed.send(batch.rate)

    learner.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(inputs.pooled.device.type, torch.bfloat16, enabled=settings.bf16):
        logits = learner.ranker(inputs)
    check_outputs(logits, batch.size, batch.labels.shape[1])
    total, per_task = learner.loss(logits, labels, weight, rate)
    _finite("the loss", total)
    total.backward()  # type: ignore[no-untyped-call]

    dense = [weight.grad for weight in learner.ranker.parameters() if weight.grad is not None]
    rows = [leaf.grad for leaf in leaves_of(inputs) if leaf.grad is not None]
    # One look at all: with what is not finite a sum is not either. Which one it was is asked only then.
    if not math.isfinite(sum((grad.sum() for grad in (*dense, *rows)), start=torch.zeros(()))):
        _finite("the norm of a gradient of the dense weights", nn.utils.get_total_norm(dense))
        _finite(
            "the norm of a gradient of the rows", nn.utils.get_total_norm([grad.float() for grad in rows])
        )
    if settings.clip_norm:
        nn.utils.clip_grad_norm_(learner.ranker.parameters(), settings.clip_norm)
    if settings.clip_rows:
        for grad in rows:
            grad.clamp_(-settings.clip_rows, settings.clip_rows)

    _scale_rates(learner.optimizer.param_groups, dense_scale)
    learner.optimizer.step()
    if learner.average is not None:
        learner.average.update_parameters(learner.ranker)
    (apply or learner.embed.apply)(inputs, rows_scale, _clicks(learner, batch.labels, settings.click))
    return per_task


def check_outputs(outputs: object, size: int, tasks: int) -> None:
    """Raise ConfigError unless ``outputs``, which a ranker gave for ``size`` samples, are an array ``[size, tasks]``."""
    shape = getattr(outputs, "shape", None)
    if shape != (size, tasks):
        gave = f"a {type(outputs).__name__}" if shape is None else list(shape)
        raise ConfigError(
            f"the ranker gave {gave} for {size} samples and {tasks} tasks; it must give one logit a sample and task"
        )


def _clicks(learner: Learner, labels: Floats, task: str) -> Floats | None:
    """The labels of ``task``, where known, as clicks; None if no task is named."""
    if not task:
        return None
    names = [each.name for each in learner.embed.sample.tasks]
    return np.nan_to_num(labels[:, names.index(task)])


def _finite(what: str, value: Tensor) -> None:
    if not math.isfinite(value.item()):
        raise NumericsError(f"{what} is {value.item()}")


def _scale_rates(groups: Iterable[dict[str, object]], scale: float) -> None:
    for group in groups:
        full = group.setdefault("initial_lr", group["lr"])  # the name that torch's own schedules use
        assert isinstance(full, float)
        group["lr"] = full * scale
