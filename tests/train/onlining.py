"""An online run of the small feed: samples in a log, a run to begin from; what the tests of the loop train on.

As a script it trains in a process of its own: ``onlining.py START LOG FOLDER '{"settings": {...}}'``.
"""

import json
import resource
import sys
import time
from functools import partial

import numpy as np
import problem
import pyarrow as pa
import pyarrow.dataset
import torch

from larix import train
from larix.data.log import DiskLog
from larix.errors import LarixError
from larix.train.online import Alarm, Deltas, LoggedSamples, OnlineSettings, Watcher, online

DENSE = partial(torch.optim.AdamW, lr=1e-2)


def begin(folder, rows=2000, steps=20, eviction=None):
    """A run that fit has left, to begin from."""
    source = problem.write(folder / "data", rows=rows, unknown=0.0)
    declared = problem.sample()
    return train.fit(
        declared,
        problem.ranker(declared),
        source,
        dense=DENSE,
        settings=train.Settings(batch_size=64, steps=steps, seed=5, threads=2),
        eviction=eviction,
        folder=folder / "start",
    )


def feed(folder, rows=4000, seed=1):
    """Samples as a joiner would write them, in the order of their times; ``ready_ms`` is a minute after each."""
    problem.write(folder, rows=rows, seed=seed, unknown=0.0)
    table = pyarrow.dataset.dataset(folder).to_table()
    table = table.sort_by("time_ms")
    return table.append_column("ready_ms", pa.array(np.asarray(table["time_ms"]) + 60_000))


def log_of(folder, samples, topic="samples", each=100, partitions=1):
    """Put ``samples`` into a log, ``each`` rows an append."""
    log = DiskLog(folder)
    log.create(topic, partitions=partitions)
    for number, batch in enumerate(samples.to_batches(max_chunksize=each)):
        log.append(topic, batch, partition=number % partitions)
    return log


def settings(**given):
    """Settings for small runs: everything is due all the time."""
    small = {
        "batch_size": 64,
        "span_s": 3600.0,
        "publish_every_s": 0.02,
        "dense_every_s": 0.05,
        "save_every_s": 0.05,
        "window_s": 4 * 3600.0,
    }
    return OnlineSettings(**small | given)


def run(start, log, folder, *, topic="deltas", until=lambda: True, samples=None, **given):
    """Train on all that the log has."""
    special = {name: given.pop(name) for name in ("watcher", "against", "stop", "deltas") if name in given}
    dense = given.pop("dense", DENSE)
    ranker = given.pop("ranker", problem.ranker)
    source = LoggedSamples(log, "samples", max_rows=256) if samples is None else samples
    try:
        return online(
            start,
            source,
            folder,
            ranker=ranker,
            dense=dense,
            settings=settings(**given),
            until=until,
            **{"deltas": Deltas(log=log, topic=topic, chunk=2000), **special},
        )
    finally:
        source.close()


class CrashError(Exception):
    """What a process that is killed does not see."""


class Recorder(Watcher):
    """Keeps what it is told, and crashes after batch ``crash``, if that is above 0."""

    def __init__(self, crash=0, then=None):
        self.crash, self.then = crash, then
        self.told = []

    def of(self, kind):
        return [each for each in self.told if isinstance(each, kind)]

    def tested(self, tested):
        self.told.append(tested)

    def progressed(self, progress):
        self.told.append(progress)
        if self.then is not None:
            self.then(progress)
        if progress.step == self.crash:
            raise CrashError

    def measured(self, window):
        self.told.append(window)

    def published(self, published):
        self.told.append(published)

    def saved(self, saved):
        self.told.append(saved)

    def alarmed(self, alarm):
        self.told.append(alarm)


def crash(*words, at, **given):
    """Run until batch ``at``, then no more: what is on the disk by then is there."""
    recorder = Recorder(at)
    try:
        run(*words, watcher=recorder, **given)
    except CrashError:
        return recorder
    raise AssertionError("it did not come to the crash")


def full(first, last):
    """A disk that is full from batch ``first`` to batch ``last``: no file can grow over 4 KiB."""

    def then(progress):
        if progress.step in (first, last):
            _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096 if progress.step == first else most, most))
        time.sleep(0.002)

    return then


if __name__ == "__main__":
    torch.set_num_threads(2)
    words = json.loads(sys.argv[4])
    recorder = Recorder(then=full(*words.pop("full")) if "full" in words else None)
    try:
        run(sys.argv[1], DiskLog(sys.argv[2]), sys.argv[3], watcher=recorder, **words)
        for alarm in recorder.of(Alarm):
            print(alarm.step, alarm.what, alarm.text)
    except LarixError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(2)
