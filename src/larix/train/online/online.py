"""online: train without end on samples as they come, test on each before, and publish what changed.

Knows nothing of where samples come from, nor of who follows.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from larix.features import Sample
from larix.train.learner import Dense
from larix.train.online.deltas import Deltas
from larix.train.online.samples import Samples
from larix.train.online.settings import OnlineSettings
from larix.train.online.watcher import Watcher
from larix.train.run import Run

_SETTINGS = OnlineSettings()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How an online run ended: totals, and whether by Ctrl-C or ``stop`` rather than at the end of its samples."""

    step: int
    samples: int
    sequence: int
    skipped: int
    stopped: bool
    folder: Path


def online(
    start: Run | str | Path,
    samples: Samples,
    folder: str | Path,
    *,
    ranker: Callable[[Sample], nn.Module] | nn.Module | None = None,
    dense: Dense = torch.optim.AdamW,
    settings: OnlineSettings = _SETTINGS,
    deltas: Deltas | None = None,
    against: Run | None = None,
    watcher: Watcher | None = None,
    stop: threading.Event | None = None,
    until: Callable[[], bool] | None = None,
) -> Outcome:
    """Go on training the run ``start`` on ``samples`` in the run folder ``folder``, until told to stop.

    Args:
        start: the run to begin from, or its folder: rows, dense weights, both optimizers' states and features of its newest
            version. If ``folder`` has a version already, that is gone on with, and ``start`` is only looked at for its
            configuration.
        samples: with the columns of the run's sample, its labels included. Its state is restored if there is one.
        folder: where versions, ``config.json`` and the journal ``online.jsonl`` go; of this run alone, by lease.
        ranker: the network, or what makes it of the sample; default: that of ``start``, copied, if it is a Run.
        dense: what makes the dense optimizer, as it was made for ``start``.
        deltas: the topic that changes go to; None: nothing is published.
        against: a run that stays as it is and is tested on the same batches.
        watcher: whom to tell, beside the journal.
        stop: ends the run when set, as Ctrl-C does: after the batch at hand, with a version saved.
        until: asked now and then; once it says True no more samples will come: what is there is trained on to the last
            sample, and the run ends.

    Raises:
        ConfigError: arguments that do not fit each other or the version. LeaseError: another process trains in ``folder``.
        StorageError: a version or the samples cannot be read. A version or delta that cannot be written is an alarm: the
            run goes on, and tries again.
    """
    raise NotImplementedError
