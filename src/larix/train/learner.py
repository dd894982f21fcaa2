"""What a step changes, made of a sample, a ranker and tables. Knows nothing of where those come from."""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from larix.errors import ConfigError
from larix.features import Sample
from larix.model.embed import Embed, Store
from larix.model.loss import Loss
from larix.train.settings import Settings
from larix.train.step import Learner

Dense = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def make_learner(
    sample: Sample, ranker: nn.Module, tables: Store, dense: Dense, settings: Settings
) -> Learner:
    """Return the learner of ``ranker`` and ``tables``; ConfigError if the optimizer or the settings do not fit."""
    clicked = [task.name for task in sample.tasks if task.kind == "binary"]
    if settings.click and settings.click not in clicked:
        raise ConfigError(
            f"Settings.click is '{settings.click}', which is no binary task; the sample has {clicked}"
        )
    # A bound on rows' gradients is float32's: in bfloat16 it would be another number.
    bf16 = settings.bf16 and not settings.clip_rows and getattr(ranker, "takes_bf16", False) is True
    embed = Embed(sample, tables, settings.device, bf16=bf16)
    ranker.to(embed.device).train()
    try:
        optimizer = dense(list(ranker.parameters()))
    except ValueError as error:
        raise ConfigError(f"the dense optimizer refuses its settings: {error}") from error
    for group in optimizer.param_groups:
        if not isinstance(group["lr"], float | int):
            raise ConfigError("the dense optimizer's lr is a tensor; give a plain number, schedules scale it")
    average = None
    if settings.average:
        average = AveragedModel(ranker, multi_avg_fn=get_ema_multi_avg_fn(settings.average))  # type: ignore[no-untyped-call]
    return Learner(
        ranker=ranker,
        embed=embed,
        optimizer=optimizer,
        loss=Loss(sample.tasks, settings.loss),
        average=average,
    )
