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
from larix.data.join import Action, Clicked, Impressions, JoinSpec, Total
from larix.data.log import DiskLog
from larix.errors import LarixError
from larix.train.online import Alarm, Deltas, JoinedSamples, LoggedSamples, OnlineSettings, Watcher, online

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


def spec():
    """How the events that `events_of` makes become the samples again."""
    at = {"key": "impression_id", "time": "time_ms", "event_id": "event_id"}
    return JoinSpec(
        impressions=Impressions("impressions", **at),
        actions=(
            Action("click", topic="actions", where={"kind": "click"}, **at),
            Action("watch", topic="actions", where={"kind": "watch"}, value="ms", **at),
        ),
        labels={"is_click": Clicked("click"), "play_ms": Total("watch")},
        window_s=600,
        lateness_s=300,
        ahead_s=None,
    )


def events_of(folder, samples, each=100):
    """Put impressions and what was done with them into a log, a little out of order, some of it twice."""
    rng = np.random.default_rng(3)
    log = DiskLog(folder)

    def shuffled(times):
        return np.argsort(np.asarray(times) + rng.integers(0, 250_000, len(times)))

    log.create("impressions", partitions=2)
    log.create("actions")
    for begin in range(0, len(samples), each):
        part = samples.slice(begin, each).combine_chunks()
        ids = np.arange(begin, begin + len(part))
        shown = part.drop_columns(["is_click", "play_ms", "ready_ms"])
        names = pa.array([f"i{one}" for one in ids])
        shown = shown.append_column("impression_id", pa.array(ids)).append_column("event_id", names)
        log.append(
            "impressions", shown.take(shuffled(shown["time_ms"])).to_batches()[0], partition=begin // each % 2
        )
        times = np.asarray(part["time_ms"]) + rng.integers(1, 400_000, len(part))
        clicked = np.asarray(part["is_click"]) == 1
        acted = np.concatenate([np.flatnonzero(clicked), np.arange(len(part)), np.arange(3)])
        kinds = np.array(["click"] * clicked.sum() + ["watch"] * (len(part) + 3))
        actions = pa.record_batch(
            {
                "impression_id": ids[acted],
                "time_ms": times[acted],
                "event_id": pa.array([f"{kind}{ids[at]}" for kind, at in zip(kinds, acted, strict=True)]),
                "kind": pa.array(kinds),
                "ms": np.asarray(part["play_ms"])[acted],
            }
        )
        log.append("actions", actions.take(shuffled(actions["time_ms"])))
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
    """Train on all that the log has, be it samples or events."""
    special = {name: given.pop(name) for name in ("watcher", "against", "stop", "deltas") if name in given}
    dense = given.pop("dense", DENSE)
    ranker = given.pop("ranker", problem.ranker)
    if samples is None:
        events = "samples" not in log.topics()
        samples = (
            JoinedSamples(log, spec(), max_rows=256)
            if events
            else LoggedSamples(log, "samples", max_rows=256)
        )
    source = samples
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
