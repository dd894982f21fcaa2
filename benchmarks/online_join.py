"""The embedded sample join in a steady state: events in, samples out, with its state saved after every batch or never.

A batch has 1 impression of some 40 columns for 1.5 actions, as a feed has; some are out of order, late or come twice.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import emit
from online_log import written

from larix.data.join import Action, Clicked, Impressions, Joiner, JoinSpec, Toggle, Total
from larix.data.log import Events

BENCH = "online"
BATCH = 1 << 16  # events
SHOWS = BATCH * 2 // 5
PARTITIONS = 4
ROWS = 1024  # of an append
SHOWS_PER_S = 2000  # by the events' clock
SAVES = 2  # that are there at a time
AT = {"key": "impression_id", "time": "time_ms", "event_id": "event_id"}
DELAY_S = 20.0  # from impression to action, mean
DISORDER_MS = 5000
STRAY = 0.01  # of events are late, as many come twice
KINDS = ["click", "click", "like", "unlike", "watch", "watch"]


def spec(window_s: float) -> JoinSpec:
    kinds = ("click", "like", "unlike")
    return JoinSpec(
        impressions=Impressions("impressions", **AT),
        actions=(
            *(Action(kind, topic="actions", where={"kind": kind}, **AT) for kind in kinds),
            Action("watch", topic="actions", where={"kind": "watch"}, value="play_ms", **AT),
        ),
        labels={"click": Clicked("click"), "like": Toggle("like", "unlike"), "play_ms": Total("watch")},
        window_s=window_s,
        lateness_s=10,
        ahead_s=None,
        ids="int64",
    )


def batches(count: int) -> Iterator[list[Events]]:
    """So many batches, one after another in event time."""
    rng = np.random.default_rng(0)
    columns = {f"id{n}": rng.integers(0, 2**60, SHOWS) for n in range(20)}
    columns |= {f"count{n}": rng.integers(0, 1000, SHOWS).astype(np.int32) for n in range(4)}
    columns |= {f"value{n}": rng.random(SHOWS, np.float32) for n in range(12)}
    columns |= {f"word{n}": pa.array(rng.choice(["feed", "search", "nearby"], SHOWS)) for n in range(3)}
    features = pa.record_batch(columns)
    span_ms = SHOWS * 1000 // SHOWS_PER_S
    ids = 0
    for number in range(count):
        start = DISORDER_MS * 10 + number * span_ms
        keys = np.arange(number * SHOWS, (number + 1) * SHOWS)
        times = start + np.sort(rng.integers(0, span_ms, SHOWS)) - rng.integers(0, DISORDER_MS, SHOWS)
        shows = features.append_column("impression_id", pa.array(_mixed(keys)))
        acts = BATCH - SHOWS
        # Actions come in the order of their times, so those of this batch are of impressions a while back.
        acted = start + np.sort(rng.integers(0, span_ms, acts))
        of = (
            (acted - start) * SHOWS_PER_S // 1000
            + number * SHOWS
            - rng.exponential(DELAY_S * SHOWS_PER_S, acts)
        ).astype(np.int64)
        actions = pa.record_batch(
            {
                "impression_id": _mixed(of),
                "kind": pa.array(KINDS).take(pa.array(rng.integers(0, len(KINDS), acts))),
                "play_ms": rng.integers(0, 60_000, acts),
            }
        )
        found = []
        for topic, rows, at in (("impressions", shows, times), ("actions", actions, acted)):
            stray = rng.random(len(at))
            at = np.where(stray < STRAY, at - 10 * DISORDER_MS, at)
            event = ids + np.arange(len(at))
            ids += len(at)
            again = np.flatnonzero(stray > 1 - STRAY)
            again = again[again > 0]
            event[again] = event[again - 1]
            rows = rows.append_column("time_ms", pa.array(at)).append_column("event_id", pa.array(event))
            for first in range(0, len(rows), ROWS):
                some = rows.slice(first, ROWS)
                some = pa.Table.from_batches([some]).take(np.arange(len(some))).to_batches()[0]
                partition = first // ROWS % PARTITIONS
                found.append(Events(topic=topic, partition=partition, offset=first, time_ms=start, rows=some))
        yield found


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Keys as ids look: spread over 64 bits."""
    return (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)).view(np.int64)


def saved(folder: Path, quick: bool) -> None:
    """Its state saved and synced after every batch; files that did not change are links."""
    _measure(folder, quick, "join", save=True)


def unsaved(folder: Path, quick: bool) -> None:
    """The same without saves."""
    _measure(folder, quick, "join unsaved", save=False)


def _measure(folder: Path, quick: bool, case: str, *, save: bool) -> None:
    window_s = 120 if quick else 600
    fill = round(window_s * SHOWS_PER_S / SHOWS) + 2
    rounds, each = (3, 5) if quick else (7, 8)
    joiner = Joiner(
        spec(window_s), partitions={"impressions": PARTITIONS, "actions": PARTITIONS}, spill=folder / "work"
    )
    rates, saves, cpu, samples, number = [], [], [], 0, 0
    feed = batches(fill + rounds * each)
    for _ in range(fill):
        joiner.push(next(feed))
    if save:
        joiner.save(folder / "first")
    state = 0
    for _ in range(rounds):
        some = [next(feed) for _ in range(each)]
        took, used = 0.0, 0.0
        for push in some:
            begun, busy = time.perf_counter(), time.process_time()
            samples += len(joiner.push(push))
            if save:
                before = time.perf_counter()
                joiner.save(folder / str(number))
                saves.append(time.perf_counter() - before)
            took += time.perf_counter() - begun
            used += time.process_time() - busy
            if save and number >= SAVES:
                shutil.rmtree(folder / str(number - SAVES))
            number += 1
        rates.append(sum(len(e.rows) for push in some for e in push) / took)
        cpu.append(used / each)
        state = max(state, joiner.state_bytes)
    assert samples > 0.9 * rounds * each * SHOWS, samples
    more = {
        "events_per_batch": BATCH,
        "columns": len(next(iter(some[0])).rows.schema),
        "impressions_in_state": window_s * SHOWS_PER_S,
        "cpu_s_per_batch": round(float(np.median(cpu)), 4),
        "state_bytes": state,
    }
    emit(BENCH, "larix", case, "events_per_s", rates, "events/s", **more)
    if save:
        size = 8 * SHOWS * 30
        emit(BENCH, "larix", case, "p50_s", [float(np.percentile(saves, 50))], "s", what="one save")
        emit(
            BENCH,
            "limit",
            case,
            "p50_s",
            [float(np.percentile(written(folder / "limit", size, 20), 50))],
            "s",
            bytes=size,
        )
