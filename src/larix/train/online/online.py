"""online: train without end on samples as they come, test on each before, and publish what changed.

Knows when it is time for what; knows nothing of where samples come from, nor of who follows.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from larix.data.log import Lease
from larix.errors import LarixError, StorageError
from larix.train.interrupt import Interrupt
from larix.train.learner import Dense
from larix.train.online.deltas import Deltas
from larix.train.online.journal import Journal
from larix.train.online.life import Life
from larix.train.online.samples import Samples
from larix.train.online.settings import OnlineSettings
from larix.train.online.start import Network, frozen, started
from larix.train.online.watcher import Silent, Watcher
from larix.train.run import Run

_SETTINGS = OnlineSettings()
_WAIT_S = 0.05  # for samples, before it is looked at what is due


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
    ranker: Network | None = None,
    dense: Dense = torch.optim.AdamW,
    settings: OnlineSettings = _SETTINGS,
    deltas: Deltas | None = None,
    against: Run | None = None,
    watcher: Watcher | None = None,
    stop: threading.Event | None = None,
    until: Callable[[], bool] | None = None,
    memory_budget: int | str | None = None,
    cold: str | Path | None = None,
) -> Outcome:
    """Go on training the run ``start`` on ``samples`` in the run folder ``folder``, until told to stop.

    Args:
        start: the run to begin from, or its folder: rows, dense weights, both optimizers' states and features of its newest
            version. If ``folder`` has a version already, that is gone on with, and ``start`` is not looked at.
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
        memory_budget, cold: of the tables, see ``fit``.

    Raises:
        ConfigError: arguments that do not fit each other or the version. LeaseError: another process trains in ``folder``.
        StorageError: a version or the samples cannot be read. A version or delta that cannot be written is an alarm: the
            run goes on, and tries again; only if the last version cannot be written is it raised.
    """
    folder, stop = Path(folder), stop or threading.Event()
    try:
        (folder / "versions").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the run folder '{folder}' cannot be made: {error.strerror}") from error
    with Lease(folder / "lease", f"the run '{folder}'"), Interrupt() as interrupt:
        begun = started(start, folder, ranker, dense, settings, memory_budget=memory_budget, cold=cold)
        journal = Journal(folder, begun.point.step, watcher or Silent())
        against_it = frozen(against, begun.learner)
        try:
            life = Life(begun, samples, folder, settings, deltas=deltas, frozen=against_it, watcher=journal)
            try:
                ended = _run(life, lambda: stop.is_set() or interrupt.wanted, until)
            finally:
                life.close()
        finally:
            journal.close()
    return Outcome(
        step=life.point.step,
        samples=life.point.samples,
        sequence=begun.tables.sequence - 1,
        skipped=life.skipped,
        stopped=not ended,
        folder=folder,
    )


def _run(life: Life, stopped: Callable[[], bool], until: Callable[[], bool] | None) -> bool:
    """Train until told to stop, or to the end of the samples; whether it was the latter."""
    ended = False
    try:
        over = False  # whether no more samples will come
        while not (stopped() or ended):
            over = over or (until is not None and until())
            came = life.poll(0.0 if over else _WAIT_S) or (over and life.finish())
            ended = over and not came
            while not stopped() and life.take():
                life.mind()
            life.mind()
    except LarixError:
        life.end()  # what was trained on is not lost for what cannot be read; half a batch is left to the version before
        raise
    ended = ended and not stopped()
    if ended:
        life.take_rest()
    life.end()
    return ended
