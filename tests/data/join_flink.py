"""A made-up feed for the Flink tests: appends with disorder, copies and late events, and files that Flink reads and writes."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from larix.data.log import Events

START_MS = 1_700_000_000_000
FEED = {"shows": 3, "acts": 2}
SCHEMAS = {
    "shows": pa.schema(
        [
            ("key", pa.int64()),
            ("time", pa.int64()),
            ("id", pa.string()),
            ("user", pa.int64()),
            ("score", pa.float64()),
            ("tag", pa.string()),
        ]
    ),
    "acts": pa.schema(
        [
            ("key", pa.int64()),
            ("time", pa.int64()),
            ("id", pa.string()),
            ("kind", pa.string()),
            ("ms", pa.int64()),
        ]
    ),
}


def feed(count, *, seed=0, span_ms=7_200_000, window_ms=1_800_000, append_rows=500) -> list[Events]:
    """About ``count`` events: three in four are impressions, one in a hundred a copy, one in a hundred very late.

    Events of one key come to any partition; a copy comes to that of its event. Actions come up to 1.2 windows after
    their impression. A few lie ahead of their append, lack what they need, or are of no kind.
    """
    rng = np.random.default_rng(seed)
    shows = _shows(rng, count * 3 // 4, span_ms)
    acts = _acts(rng, shows, count - count * 3 // 4, window_ms)
    return [*_appended(rng, "shows", shows, append_rows), *_appended(rng, "acts", acts, append_rows)]


def crowd(count, *, seed=0) -> list[Events]:
    """About ``count`` events of 8 keys, many at one time: one in four an impression, some with the id of others."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count // 40):
        at = START_MS + number * 100
        shows = number % 4 == 0
        times = at - rng.choice([0, 20, 60, 200], 40)
        names = rng.integers(0, 20, 40)  # of one time and key in one partition: copies, or kinds of one event
        keys, topic = rng.integers(0, 8, 40), "shows" if shows else "acts"
        partition = number % FEED[topic]
        columns = {
            "key": keys,
            "time": times,
            "id": [
                f"{name}-{key}-{when}-{partition}" for name, key, when in zip(names, keys, times, strict=True)
            ],
            "user": rng.integers(0, 9, 40),
            "score": rng.integers(0, 9, 40) / 8,
            "tag": rng.choice(["a", "b"], 40),
            "kind": rng.choice(["click", "like", "unlike", "watch", "nod"], 40),
            "ms": rng.integers(0, 3, 40),
        }
        rows = pa.record_batch([columns[name] for name in SCHEMAS[topic].names], schema=SCHEMAS[topic])
        found.append(Events(topic=topic, partition=partition, offset=number, time_ms=at, rows=rows))
    return found


def _shows(rng, count, span_ms):
    return {
        "key": np.arange(count) // 10 * 9 + np.minimum(np.arange(count) % 10, 8),  # one in ten keys has two
        "time": START_MS + np.sort(rng.integers(0, span_ms, count)),
        "id": np.char.add("s", np.arange(count).astype(str)),
        "user": rng.integers(0, 1000, count),
        "score": rng.integers(0, 1000, count) / 8,
        "tag": rng.choice(["", "a", 'quote "', "ü€"], count),
    }


def _acts(rng, shows, count, window_ms):
    of = rng.integers(0, len(shows["key"]), count)
    # Some at the very edges of the window, some at the same time as others.
    after = rng.integers(0, round(1.2 * window_ms), count)
    after = np.where(rng.random(count) < 0.1, rng.choice([-1, 0, window_ms, window_ms + 1], count), after)
    return {
        "key": shows["key"][of],
        "time": shows["time"][of] + after,
        "id": np.char.add("a", np.arange(count).astype(str)),
        "kind": rng.choice(["click", "like", "unlike", "watch", "nod"], count),
        "ms": rng.integers(0, 100_000, count),
    }


def _appended(rng, topic, columns, append_rows):
    """Rows in the order of their append, dealt to partitions, as appends."""
    count = len(columns["time"])
    delay = rng.integers(0, 50_000, count) + (rng.random(count) < 0.01) * rng.integers(0, 600_000, count)
    at = columns["time"] + delay
    partition = rng.integers(0, FEED[topic], count)
    copied = np.flatnonzero(rng.random(count) < 0.01)
    rows = np.concatenate([np.arange(count), copied])
    at = np.concatenate([at, at[copied] + rng.integers(0, 100_000, len(copied))])
    rows = rows[np.argsort(at, kind="stable")]
    appended = np.sort(at, kind="stable")
    found = []
    for each in range(FEED[topic]):
        mine = np.flatnonzero(partition[rows] == each)
        for begin in range(0, len(mine), append_rows):
            some = mine[begin : begin + append_rows]
            batch = _batch(rng, topic, columns, rows[some])
            found.append((int(appended[some[-1]]), each, begin, batch))
    return [
        Events(topic=topic, partition=each, offset=begin, time_ms=time_ms, rows=batch)
        for time_ms, each, begin, batch in sorted(found, key=lambda append: append[:3])
    ]


def _batch(rng, topic, columns, rows):
    arrays = []
    for field in SCHEMAS[topic]:
        values = columns[field.name][rows]
        lost = rng.random(len(rows)) < (0.02 if field.name in ("tag", "ms") else 0.001)
        if field.name == "time":
            values = values + np.where(rng.random(len(rows)) < 0.002, 3_600_000, 0)
        arrays.append(pa.array(values, field.type, mask=lost))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS[topic])


def write(events, folder: Path, partitions=FEED) -> None:
    """The files that `flink.Files` reads."""
    for topic, count in partitions.items():
        for each in range(count):
            with (folder / f"{topic}-{each}.json").open("wb") as file:
                for append in events:
                    if (append.topic, append.partition) == (topic, each):
                        rows = pl.DataFrame(append.rows).with_columns(append_ms=pl.lit(append.time_ms))
                        file.write(rows.write_ndjson().encode())


def read(folder: Path) -> list[dict]:
    """The rows that a job wrote, without what is null."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    rows = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def frame(folder: Path, schema: pl.Schema) -> pl.DataFrame:
    """The rows that a job wrote, as columns."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return pl.concat([pl.read_ndjson(path, schema=schema) for path in paths])


def fates(dropped, kinds) -> dict[str, dict[str, int]]:
    """How many events of each kind were dropped, by reason."""
    counts = Counter((row["kind"], row["reason"]) for row in dropped)
    return {
        kind: {reason: counts[kind, reason] for reason in ("null", "future", "late", "duplicate")}
        for kind in kinds
    }
