"""How fast ``Sample.transform`` is: a request of 500 candidates, and batches of 4096 rows on 1 and 2 threads.

Some 30 features of every kind, a history of 50 events in 6 columns among them. ``--quick`` ends in a minute.
"""

import argparse
import json
import statistics
import time

import numpy as np
import pyarrow as pa

from larix import features as fx

HISTORY = 50
SAMPLE = fx.Sample(
    user=fx.Id("user_id", dim=16),
    video=fx.Id("video_id", dim=16),
    author=fx.Id("author_id", dim=16),
    music=fx.Id("music_id", dim=8),
    activity=fx.Id("activity", dim=4),
    kind=fx.Id("kind", dim=4),
    scene_id=fx.Id("tab", dim=4),
    tags=fx.Ids("tags", dim=8),
    interests=fx.Ids("interests", dim=8, weights="interest_weights", newest=10),
    hour=fx.Hour("time_ms", dim=4, utc_offset=8),
    weekday=fx.Weekday("time_ms", dim=4, utc_offset=8),
    length=fx.Bucket("duration_ms", quantiles=32, dim=8),
    fans=fx.Bucket("fans", quantiles=32, dim=8),
    follows=fx.Bucket("follows", quantiles=32, dim=8),
    friends=fx.Bucket("friends", quantiles=32, dim=8),
    age_days=fx.Bucket("register_days", edges=(7, 30, 90, 365, 1000), dim=4),
    activity_tab=fx.Cross("activity", "tab", dim=8),
    user_author=fx.Cross("user_id", "author_id", dim=8),
    log_fans=fx.Dense("fans", transform="log1p", standardise=True),
    log_follows=fx.Dense("follows", transform="log1p", standardise=True),
    log_length=fx.Dense("duration_ms", transform="log1p", standardise=True, missing="mean"),
    ctr=fx.Dense("ctr", clip=(0, 1)),
    like_rate=fx.Dense("like_rate", clip=(0, 1)),
    finish_rate=fx.Dense("finish_rate", clip=(0, 1)),
    history=fx.Sequence(
        video="hist_video",
        author="hist_author",
        click=fx.Id("hist_click", dim=4),
        like=fx.Id("hist_like", dim=4),
        play=fx.Dense("hist_play_ms", transform="log1p"),
        age=fx.LogAge("hist_time_ms"),
        newest=HISTORY,
    ),
    tasks=(fx.Binary("is_click"), fx.Binary("long_view"), fx.Binary("is_like"), fx.Seconds("play_ms")),
    group="user_id",
    scene="tab",
    time="time_ms",
)


def records(rows: int, seed: int) -> pa.RecordBatch:
    """Random rows with all of SAMPLE's columns: 2% nulls in some, strings in two, full histories."""
    random = np.random.default_rng(seed)
    now = 1_650_844_800_000

    def some(values: np.ndarray) -> pa.Array:
        return pa.array(values, mask=random.random(rows) < 0.02)

    def lists(values: np.ndarray, length: int) -> pa.Array:
        return pa.ListArray.from_arrays(
            pa.array(np.arange(rows + 1, dtype=np.int32) * length), pa.array(values)
        )

    def ids(count: int) -> np.ndarray:
        return random.integers(-(2**63), 2**63 - 1, count)

    events = rows * HISTORY
    columns = {
        "user_id": ids(rows),
        "video_id": ids(rows),
        "author_id": ids(rows),
        "music_id": some(ids(rows)),
        "activity": np.array(["full_active", "high_active", "middle_active", "UNKNOWN"])[
            random.integers(0, 4, rows)
        ],
        "kind": np.array(["NORMAL", "AD"])[random.integers(0, 2, rows)],
        "tab": random.integers(0, 15, rows),
        "tags": lists(ids(rows * 3), 3),
        "interests": lists(ids(rows * 12), 12),
        "interest_weights": lists(random.random(rows * 12, np.float32), 12),
        "time_ms": now + random.integers(0, 86_400_000, rows),
        "duration_ms": some(random.lognormal(10, 1, rows)),
        "fans": random.integers(0, 100_000, rows),
        "follows": random.integers(0, 1000, rows),
        "friends": random.integers(0, 200, rows),
        "register_days": random.integers(0, 2000, rows),
        "ctr": random.random(rows),
        "like_rate": random.random(rows),
        "finish_rate": random.random(rows),
        "hist_video": lists(ids(events), HISTORY),
        "hist_author": lists(ids(events), HISTORY),
        "hist_click": lists(random.random(events) < 0.4, HISTORY),
        "hist_like": lists(random.random(events) < 0.02, HISTORY),
        "hist_play_ms": lists(random.integers(0, 60_000, events), HISTORY),
        "hist_time_ms": lists(now - random.integers(0, 10**9, events), HISTORY),
        "is_click": random.integers(0, 2, rows),
        "long_view": random.integers(0, 2, rows),
        "is_like": random.integers(0, 2, rows),
        "play_ms": random.integers(0, 60_000, rows),
    }
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns.values()], list(columns))


def report(case: str, metric: str, unit: str, values: list[float]) -> None:
    line = {"bench": "features", "subject": "larix", "case": case, "metric": metric}
    numbers = {"value": statistics.median(values), "unit": unit, "runs": len(values)}
    print(json.dumps(line | numbers | {"min": min(values), "max": max(values)}), flush=True)


def request(sample: fx.Sample, runs: int) -> None:
    batch = records(500, seed=1)
    millis: list[float] = []
    for run in range(runs + 20):
        start = time.perf_counter()
        sample.transform(batch, labels=False)
        if run >= 20:
            millis.append((time.perf_counter() - start) * 1e3)
    report("request 500", "ms", "ms", millis)
    report("request 500", "p99_ms", "ms", [sorted(millis)[int(len(millis) * 0.99)]])


def training(sample: fx.Sample, threads: int, batches: int, runs: int) -> None:
    """Batches of 4096, one after the other."""
    parts = [records(4096, seed) for seed in range(8)]
    rates: list[float] = []
    for run in range(runs + 1):
        start = time.perf_counter()
        for index in range(batches):
            sample.transform(parts[index % len(parts)], threads=threads)
        if run:
            rates.append(batches * 4096 / (time.perf_counter() - start))
    report(f"batch 4096 threads={threads}", "rows_per_s", "rows/s", rates)


def fitting(rows: int) -> None:
    batch = records(rows, seed=2)
    start = time.perf_counter()
    SAMPLE.fit([batch])
    report(f"fit {rows} rows", "rows_per_s", "rows/s", [rows / (time.perf_counter() - start)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs: ends within a minute")
    parser.add_argument("--peers", action="store_true", help="none here: nothing else does the same work")
    quick = parser.parse_args().quick
    sample = SAMPLE.fit([records(20_000, seed=0)])
    request(sample, 300 if quick else 3000)
    for threads in (1, 2):
        training(sample, threads, 50, 5 if quick else 20)
    fitting(50_000 if quick else 200_000)


if __name__ == "__main__":
    main()
