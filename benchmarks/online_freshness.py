"""The whole online loop on one machine: events of a simulated feed into the log, joined, learned from, followed, answered.

``freshness``: at 20,000 events a second, probes: an impression and a tap of a user never seen before; how long until a
follower in another process answers differently for that user than for one that never was. ``whole``: how many events a second
the loop takes when it is sent as many as the sender can make, and where it saturates: what part of the trainer's time each stage
took, and how many cores its process used meanwhile. Where it waited for events, nothing was saturated, and that is said.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measure import emit

from larix import data, train
from larix import features as fx
from larix.data.join import Action, Clicked, Impressions, JoinSpec, Total
from larix.data.log import DiskLog
from larix.embedding import RowAdagrad
from larix.model.inputs import Inputs
from larix.recipes.replay.worker import STOP, Control, Worker
from larix.train.online import (
    Deltas,
    JoinedSamples,
    OnlineSettings,
    Progress,
    Published,
    Replica,
    Silent,
    online,
)

BENCH = "online"
RATE = 20_000  # events a second
FLOOD = 40 * RATE  # more than the loop takes, and than the sender makes
WAITED = 0.05  # of the trainer's time, from which on it was sent too little to tell what it takes
ACTIONS = 1.5  # of an impression, on average
TICK_S = 0.02  # between appends
WINDOW_S, LATENESS_S = 1.0, 0.2
PROBE_EVERY_S = 0.1
USERS, ITEMS = 200_000, 50_000
CONTEXTS = 4
_EVENT = {"key": "key", "time": "time_ms", "event_id": "event_id"}

SAMPLE = fx.Sample(
    user=fx.Id("user_id", dim=16),
    item=fx.Id("item_id", dim=16),
    **{f"context{at}": fx.Id(f"context{at}", dim=8) for at in range(CONTEXTS)},
    hour=fx.Hour("time_ms", dim=4),
    tasks=(fx.Binary("click"), fx.Seconds("play_ms")),
    group="user_id",
    time="time_ms",
)
SPEC = JoinSpec(
    impressions=Impressions("impressions", **_EVENT),
    actions=(
        Action("click", topic="actions", where={"kind": "click"}, **_EVENT),
        Action("watch", topic="actions", where={"kind": "watch"}, value="value", **_EVENT),
    ),
    labels={"click": Clicked("click"), "play_ms": Total("watch")},
    window_s=WINDOW_S,
    lateness_s=LATENESS_S,
    ids="int64",
)
SETTINGS = OnlineSettings(
    batch_size=1024, span_s=0.25, publish_every_s=0.5, dense_every_s=5.0, save_every_s=30.0, window_s=10.0
)


class Net(torch.nn.Module):
    """An MLP 128-64 on all vectors."""

    def __init__(self, sample: fx.Sample) -> None:
        super().__init__()
        width = sum(slot.dim for slot in sample.id_slots.values())
        layers = [torch.nn.Linear(width, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64), torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*layers, torch.nn.Linear(64, 2))

    def forward(self, inputs: Inputs) -> torch.Tensor:
        found: torch.Tensor = self.layers(inputs.pooled)
        return found


class Feed:
    """Impressions and actions as they would come now; ids are counted, so that no event comes twice."""

    def __init__(self, rate: float) -> None:
        self._rng = np.random.default_rng(0)
        self._shown = rate / (1 + ACTIONS)
        self._next = 0
        self._event = 1 << 40

    def tick(self, seconds: float, now_ms: int) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """What happened in so many seconds until now."""
        rng, size = self._rng, max(1, int(self._shown * seconds))
        keys = np.arange(self._next, self._next + size)
        self._next += size
        users = (rng.pareto(1.1, size) * 500).astype(np.int64) % USERS
        shown = impressions(keys, users, rng.integers(0, ITEMS, size), np.full(size, now_ms), rng)
        clicks, watches = keys[rng.random(size) < 0.5], keys
        acted = np.concatenate([clicks, watches])
        kinds = pa.array(["click"] * len(clicks) + ["watch"] * len(watches))
        values = np.concatenate([np.zeros(len(clicks)), rng.integers(0, 60_000, len(watches))]).astype(
            np.int64
        )
        self._event += len(acted)
        ids = np.arange(self._event - len(acted), self._event)
        return shown, actions(acted, ids, kinds, np.full(len(acted), now_ms), values)


def impressions(keys, users, items, times, rng) -> pa.RecordBatch:
    context = {f"context{at}": rng.integers(0, 100, len(keys)) for at in range(CONTEXTS)}
    return pa.record_batch(
        {"key": keys, "event_id": keys, "time_ms": times, "user_id": users, "item_id": items, **context}
    )


def actions(keys, ids, kinds, times, values) -> pa.RecordBatch:
    return pa.record_batch({"key": keys, "event_id": ids, "kind": kinds, "time_ms": times, "value": values})


def begin(folder: Path) -> None:
    """A run to go on from, trained on a second of the feed, and the topics."""
    feed = Feed(RATE)
    shown, _ = feed.tick(1.0, now())
    rng = np.random.default_rng(1)
    labels = {"click": rng.integers(0, 2, len(shown)), "play_ms": rng.integers(0, 60_000, len(shown))}
    pq.write_table(
        pa.table({**{name: shown[name] for name in shown.schema.names}, **labels}), folder / "first.parquet"
    )
    settings = train.Settings(batch_size=1024, threads=2)
    train.fit(
        SAMPLE, Net(SAMPLE), data.files(folder / "first.parquet"), rows=RowAdagrad(lr=0.05), settings=settings,
        folder=folder / "run",
    )  # fmt: skip
    with DiskLog(folder / "log") as log:
        for topic in ("impressions", "actions", "probes", "seen", "progress"):
            log.create(topic)


def learn(folder: Path, control: Control) -> None:
    """The trainer's process."""
    torch.set_num_threads(2)
    with DiskLog(folder / "log") as log:
        samples = _Timed(log, SPEC)
        told = _Told(log, samples)
        dense = partial(torch.optim.AdamW, lr=1e-3)
        deltas = Deltas(log=log)
        online(
            folder / "run", samples, folder / "online", ranker=Net, dense=dense, settings=SETTINGS, deltas=deltas,
            watcher=told, stop=control.stop,
        )  # fmt: skip


class _Timed(JoinedSamples):
    """Knows how long it joined, and how long it waited for there was nothing to join."""

    join_s = wait_s = 0.0

    def poll(self, timeout_s: float) -> pa.Table:
        idle, began = not self.lag, time.monotonic()
        found = super().poll(timeout_s)
        took = time.monotonic() - began
        if idle:
            self.wait_s += took
        else:
            self.join_s += took
        return found


class _Told(Silent):
    """Leaves in the log how far the trainer is, what its process used, and how long it was at what."""

    def __init__(self, log: DiskLog, samples: _Timed) -> None:
        self._log, self._samples, self._learned, self._publish_s = log, samples, 0, 0.0

    def progressed(self, progress: Progress) -> None:
        self._learned = progress.samples

    def published(self, published: Published) -> None:
        self._publish_s += published.seconds
        row = {
            "join_s": self._samples.join_s,
            "wait_s": self._samples.wait_s,
            "publish_s": self._publish_s,
            "lag": self._samples.lag,
            "cpu_s": time.process_time(),
            "at": time.monotonic(),
            "samples": self._learned,
        }
        self._log.send("progress", pa.RecordBatch.from_pylist([row]))


def answer(folder: Path, control: Control) -> None:
    """The follower's process: looks for probes that it answers otherwise than for a user that never was."""
    torch.set_num_threads(1)
    with DiskLog(folder / "log") as log:
        while not (folder / "online" / "versions").is_dir() or not list(
            (folder / "online" / "versions").glob("step-*")
        ):
            if control.stop.wait(0.1):
                return
        while "deltas" not in log.topics():
            control.stop.wait(0.05)
        replica = Replica(folder / "online", Net, Deltas(log=log))
        waiting: dict[int, pa.RecordBatch] = {}
        with log.consumer("probes") as consumer:
            control.ready()
            while not control.stop.is_set():
                replica.poll(0.01)
                for events in consumer.poll(0.0):
                    for at, key in enumerate(events.rows["key"].to_pylist()):
                        waiting[key] = events.rows.slice(at, 1)
                if not waiting or not replica.sequence:
                    continue
                ours = pa.Table.from_batches(waiting.values()).combine_chunks().to_batches()[0]
                nobody = ours.set_column(
                    ours.schema.names.index("user_id"), "user_id", pa.array(np.full(len(ours), -1, np.int64))
                )
                learned = (replica.scores(ours) != replica.scores(nobody)).any(axis=1)
                at_ms = now()
                found = [key for key, yes in zip(list(waiting), learned, strict=True) if yes]
                if found:
                    rows = {
                        "key": found,
                        "at_ms": [at_ms] * len(found),
                        "cpu_s": [time.process_time()] * len(found),
                    }
                    log.send("seen", pa.record_batch(rows))
                for key in found:
                    del waiting[key]


def now() -> int:
    return time.time_ns() // 1_000_000


def _sent(log: DiskLog, rate: float, stop: threading.Event, probe: Callable[[int], None]) -> Iterator[int]:
    """Send the feed at a rate until told to stop; yields how many events were sent, tick by tick."""
    feed, began, ticks = Feed(rate), time.monotonic(), 0
    while not stop.is_set():
        shown, acted = feed.tick(TICK_S, now())
        log.send("impressions", shown)
        log.send("actions", acted)
        ticks += 1
        if ticks % round(PROBE_EVERY_S / TICK_S) == 0:
            probe(ticks)
        yield len(shown) + len(acted)
        stop.wait(max(0.0, began + ticks * TICK_S - time.monotonic()))


class _Probes:
    """Sends probes, and remembers when each tap was appended."""

    def __init__(self, log: DiskLog) -> None:
        self._log = log
        self.sent: dict[
            int, tuple[int, int]
        ] = {}  # key -> the impression's event time, when its tap was appended
        self._rng = np.random.default_rng(2)

    def send(self, tick: int) -> None:
        key = -1000 - tick  # of an impression, a user and an event that never were
        at = now()
        one = np.array([key])
        shown = impressions(one, one, self._rng.integers(0, ITEMS, 1), np.array([at]), self._rng)
        self._log.send("impressions", shown)
        tap = actions(one, one, pa.array(["click"]), np.array([at]), np.array([0]))
        self._log.send("actions", tap)
        self.sent[key] = (at, now())
        self._log.send("probes", shown)


def _loop(folder: Path, rate: float, seconds: float) -> tuple[_Probes, DiskLog, int, float]:
    """Run the loop at a rate for so long, after the trainer and the follower are there."""
    begin(folder)
    workers = [Worker("trainer", learn, folder), Worker("follower", answer, folder)]
    try:
        log = DiskLog(folder / "log")
        probes, stop, sent = _Probes(log), threading.Event(), 0
        while not workers[1].ready:
            time.sleep(0.05)
            for worker in workers:
                worker.look()
        began = time.monotonic()
        for rows in _sent(log, rate, stop, probes.send):
            sent += rows
            if time.monotonic() - began > seconds:
                stop.set()
        took = time.monotonic() - began
        if rate <= RATE:
            time.sleep(
                WINDOW_S + LATENESS_S + 3.0
            )  # for the last probes; nothing moves the watermark on after that
        for worker in workers:
            worker.tell(STOP)
            worker.look()
    finally:
        for worker in workers:
            worker.close()
    return probes, log, sent, took


def _read(log: DiskLog, topic: str) -> list[dict[str, float]]:
    with log.consumer(topic) as consumer:
        return [row for events in consumer.drain() for row in events.rows.to_pylist()]


def freshness(folder: Path, quick: bool) -> None:
    """From a tap's append to an answer that learned from it, less what the join had to wait for."""
    probes, log, sent, took = _loop(folder, RATE, 12.0 if quick else 40.0)
    seen = {row["key"]: row["at_ms"] for row in _read(log, "seen")}
    log.close()
    hold = round((WINDOW_S + LATENESS_S) * 1000)
    # Those at the end are left out: nothing came after them that would move the watermark on and fill their batch.
    last = max(at for at, _ in probes.sent.values()) - hold - 1000
    fair = {key: (at, tap) for key, (at, tap) in probes.sent.items() if at < last}
    missed = len(fair) - sum(key in seen for key in fair)
    waits = [(seen[key] - max(at + hold, tap)) / 1000 for key, (at, tap) in fair.items() if key in seen]
    raw = [(seen[key] - tap) / 1000 for key, (_, tap) in fair.items() if key in seen]
    more = {"events_per_s": round(sent / took), "probes": len(fair), "missed": missed, "window_s": WINDOW_S}
    more |= {"lateness_s": LATENESS_S, "cores": os.cpu_count()}
    for name, percent in (("p50_s", 50), ("p99_s", 99)):
        emit(BENCH, "larix", "freshness", name, [float(np.percentile(waits, percent))], "s", **more)
        emit(
            BENCH,
            "larix",
            "freshness with the window",
            name,
            [float(np.percentile(raw, percent))],
            "s",
            **more,
        )


def whole(folder: Path, quick: bool) -> None:
    """Events a second that come through to published rows when more than that are sent, and what saturates."""
    seconds = 12.0 if quick else 30.0
    _, log, sent, took = _loop(folder, FLOOD, seconds)
    told = _read(log, "progress")
    log.close()
    half = [row for row in told if row["at"] > told[0]["at"] + 2.0]
    first, last = half[0], half[-1]
    span = last["at"] - first["at"]
    through = (last["samples"] - first["samples"]) * (1 + ACTIONS) / span
    parts = {name: (last[f"{name}_s"] - first[f"{name}_s"]) / span for name in ("join", "publish", "wait")}
    parts["test and train"] = 1 - sum(parts.values())
    busiest = max(parts, key=lambda name: parts[name] if name != "wait" else 0.0)
    more = {
        "sent_per_s": round(sent / took),
        "saturated": busiest if parts["wait"] < WAITED else "nothing",
        "parts": {name: round(part, 3) for name, part in parts.items()},
        "trainer_cores": round((last["cpu_s"] - first["cpu_s"]) / span, 2),
    }
    emit(
        BENCH,
        "larix",
        "whole",
        "events_per_s",
        [through],
        "1/s",
        lag=int(last["lag"]),
        cores=os.cpu_count(),
        **more,
    )
