"""A life of an online run, from a version to its end: samples in, batches tested and trained on, versions and deltas out.

Knows nothing of signals, nor of how it is told to end.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa

from larix.errors import StorageError
from larix.features import Cross, Id, Ids, Sample, Sequence
from larix.train import checkpoint
from larix.train.online import history
from larix.train.online.batches import Cut, Cutter
from larix.train.online.deltas import Deltas
from larix.train.online.drift import DriftAlarm
from larix.train.online.marks import Marks
from larix.train.online.prequential import Prequential
from larix.train.online.publisher import Publisher
from larix.train.online.samples import Samples
from larix.train.online.settings import OnlineSettings
from larix.train.online.start import Frozen, Started
from larix.train.online.trainer import Aside, Trainer
from larix.train.online.upkeep import Upkeep
from larix.train.online.versions import State, Versions, Written
from larix.train.online.watcher import Alarm, Progress, Watcher, Window

_PENDING = "pending.arrow"


class Life:
    """Takes over a run where ``started`` stands. ``point``: how far it is; ``skipped``: batches not trained on, in all."""

    def __init__(
        self,
        started: Started,
        samples: Samples,
        folder: Path,
        settings: OnlineSettings,
        *,
        deltas: Deltas | None,
        frozen: Frozen | None,
        watcher: Watcher,
    ) -> None:
        sample, said = started.learner.embed.sample, started.said
        self.point = started.point
        self.skipped = 0
        self._started, self._samples, self._watcher = started, samples, watcher
        self._began = monotonic()
        self._event_ms = 0
        self._torn = False  # a batch was taken and not told of: what stands here is no state to go on from
        self._cutter = Cutter(
            sample.columns, sample.time, settings.batch_size, settings.span_s * 1000, ids=_ids(sample)
        )
        self._drift = DriftAlarm(settings.drift)
        self._prequential = Prequential(
            sample,
            max(1, round(settings.window_s * 1000)),
            bins=settings.bins,
            budget=settings.budget,
            frozen=frozen is not None,
        )
        sequence = started.tables.sequence - 1
        self._marks = Marks(sequence, 0 if said is None else said["mark"])
        self._trainer = Trainer(started, settings, self._marks, frozen, folder)
        self._versions = Versions(folder / "versions", settings.keep)

        known = "" if said is None else said["history"]  # of the state that is gone on with
        self._history = history.current(folder)
        if not self._history or (said is not None and not history.repeatable(started.tables.specs)):
            self._history = history.begin(folder)
        reached = sequence if said is None else said["reached"]
        self._publisher = (
            None if deltas is None else Publisher(deltas, started.tables, self._marks, self._history, reached)
        )
        self._upkeep = Upkeep(
            started.tables,
            self._versions,
            self._publisher,
            settings,
            ranker=self._trainer.ranker,
            state=self._state,
            stage=self._stage,
            fenced=known == self._history,
            watcher=watcher,
        )
        if said is None:
            begun, self._history = self._history, ""  # only what follows the first version is of the history
            self._upkeep.first()
            self._history = begun
        else:
            self._restore(said, started.found.files)
            self._upkeep.announce(Written(path=started.found.path, state=self._state(), seconds=0.0))

    @property
    def held(self) -> str:
        """Why nothing is published; "" if it is."""
        return "; ".join(self._drift.why.values())

    def poll(self, timeout_s: float) -> bool:
        """Take in samples that have come; whether there were any."""
        return self._hold(self._samples.poll(timeout_s))

    def finish(self) -> bool:
        """No more samples will come: take in what was held back for their sake, a part at a time; whether there was any."""
        return self._hold(self._samples.finish())

    def take(self) -> bool:
        """Test and train on the next whole batch; False if there is none."""
        cut = self._cutter.pop()
        if cut is not None:
            self._take(cut)
        return cut is not None

    def take_rest(self) -> None:
        """Test and train on what is left, and end the window."""
        while (cut := self._cutter.rest()) is not None:
            self._take(cut)
        self._end_window(self.point.step + 1)

    def mind(self) -> None:
        """Publish and save what is due."""
        self._upkeep.turn()

    def end(self) -> None:
        """Publish and save where it stands, unless something failed in the middle of a batch. StorageError if it cannot."""
        if not self._torn:
            self._upkeep.last()

    def close(self) -> None:
        """End what goes on beside; the samples are the caller's."""
        self._versions.close()

    def _hold(self, samples: pa.Table) -> bool:
        self._cutter.push(samples)
        return len(samples) > 0

    def _take(self, cut: Cut) -> None:
        self._torn = True
        number = self.point.step + 1
        if self._prequential.over(cut.event_ms):
            self._end_window(number)
        tested, aside = self._trainer.test(cut.records, number)
        if aside is not None:
            self._put_aside(aside, number)
        size, losses = 0, None
        if tested is not None:
            size = tested.batch.size
            self._prequential.add(tested, cut.event_ms)
            self._watcher.tested(tested)
            losses, aside = self._trainer.train(tested, cut.event_ms)
            if aside is not None:
                self._put_aside(aside, number)
        self._event_ms = cut.event_ms
        if losses is None:
            self.skipped += 1
        else:
            self._judge(number, self._drift.trained)
        self.point = replace(self.point, step=number, samples=self.point.samples + size)
        self._torn = False
        self._watcher.progressed(
            Progress(
                step=number,
                samples=self.point.samples,
                event_ms=self._event_ms,
                lag=self._samples.lag,
                pending=self._cutter.pending,
                skipped=self.skipped,
                held=self.held,
                losses=losses,
                seconds=monotonic() - self._began,
            )
        )

    def _put_aside(self, aside: Aside, number: int) -> None:
        self._watcher.alarmed(Alarm(step=number, what="skipped", text=aside.why))
        if aside.numbers:
            self._judge(number, lambda: self._drift.bad_numbers(aside.why))

    def _end_window(self, number: int) -> None:
        if (first := self._prequential.first_ms) is None:
            return
        windows, totals = self._prequential.end()
        self._judge(number, lambda: self._drift.look(windows["online"]["tasks"]))
        self._watcher.measured(
            Window(
                first_ms=first,
                last_ms=self._event_ms,
                step=number,
                samples=windows["online"]["samples"],
                metrics=windows["online"],
                total=totals["online"],
                frozen=windows.get("frozen"),
                frozen_total=totals.get("frozen"),
                held=self.held,
            )
        )

    def _judge(self, number: int, look: Callable[[], None]) -> None:
        """Have drift looked at; say so if publishing is held or released by it."""
        before = self._drift.held
        look()
        if self._drift.held and not before:
            text = f"nothing is published: {self.held}"
            self._watcher.alarmed(Alarm(step=number, what="held", text=text))
        elif before and not self._drift.held:
            text = "all is well again: publishing goes on"
            self._watcher.alarmed(Alarm(step=number, what="released", text=text))

    def _state(self) -> State:
        return State(
            step=self.point.step,
            sequence=self._marks.sequence,
            mark=self._marks.newest,
            event_ms=self._event_ms,
            held=self._drift.held,
        )

    def _stage(self, folder: Path) -> Mapping[str, bytes]:
        """The files of a version of where it stands; folders of the samples' own go into ``folder``."""
        said, pending = self._cutter.save()
        online = {
            "history": self._history,
            "mark": self._marks.newest,
            "reached": self._marks.sequence if self._publisher is None else self._publisher.reached,
            "event_ms": self._event_ms,
            "skipped": self.skipped,
            "good": self._versions.good,
            "cutter": said,
            "drift": self._drift.state(),
            "samples": self._samples.save(folder),
        }
        own = checkpoint.contents(self._started.learner, self.point, {"online": online})
        return {**own, **self._prequential.save(), _PENDING: pending}

    def _restore(self, said: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        path = self._started.found.path
        if _PENDING not in files:
            raise StorageError(f"version '{path}' is not of an online run: it has no {_PENDING}")
        self._event_ms, self.skipped = said["event_ms"], said["skipped"]
        self._cutter.restore(said["cutter"], files[_PENDING])
        self._drift.restore(said["drift"])
        self._prequential.restore(files)
        self._samples.restore(said["samples"], path)
        self._versions.good = said["good"] if self._drift.held else path.name


def _ids(sample: Sample) -> set[str]:
    """The columns that hold ids."""
    found = {key for key in (sample.group, sample.scene) if key is not None}
    for feature in sample.features.values():
        parts = feature.elements.values() if isinstance(feature, Sequence) else (feature,)
        found |= {column for part in parts if isinstance(part, Id | Ids | Cross) for column in part.columns}
    return found
