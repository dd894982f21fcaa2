"""Events for joins: some as a person would write them, and strategies for strange ones."""

import random
from dataclasses import replace

import pyarrow as pa
from hypothesis import strategies as st

from larix.data.join import Action, Clicked, Downsample, Impressions, JoinSpec, Toggle, Total
from larix.data.log import Events

NOW = 1_000_000
PARTITIONS = {"shows": 2, "acts": 2}
BOTH = {"feed": 3}


def spec_of(**more) -> JoinSpec:
    """Impressions and actions in topics of their own, a window of 1 s, lateness of 0.2 s."""
    at = {"key": "key", "time": "time", "event_id": "id"}
    given = {
        "impressions": Impressions("shows", **at),
        "actions": (
            Action("click", topic="acts", where={"kind": "click"}, **at),
            Action("like", topic="acts", where={"kind": "like"}, **at),
            Action("unlike", topic="acts", where={"kind": "unlike"}, **at),
            Action("watch", topic="acts", where={"kind": "watch"}, value="ms", **at),
        ),
        "labels": {"clicked": Clicked("click"), "liked": Toggle("like", "unlike"), "ms": Total("watch")},
        "window_s": 1,
        "lateness_s": 0.2,
        "ahead_s": None,
    }
    return JoinSpec(**given | more)


def one_topic(spec: JoinSpec) -> JoinSpec:
    """The same, of events that share a topic."""
    return replace(
        spec,
        impressions=replace(spec.impressions, topic="feed", where={"kind": "show"}),
        actions=tuple(replace(action, topic="feed") for action in spec.actions),
    )


def events(topic: str, *rows: dict, partition: int = 0, time_ms: int = NOW, schema=None) -> Events:
    """One append of rows; types as Arrow sees them."""
    names = dict.fromkeys(name for row in rows for name in row)
    if schema is None:
        batch = pa.record_batch({name: pa.array([row.get(name) for row in rows]) for name in names})
    else:
        batch = pa.RecordBatch.from_pylist(list(rows), schema=schema)
    return Events(topic=topic, partition=partition, offset=0, time_ms=time_ms, rows=batch)


def show(key, time, id_=None, **columns) -> dict:
    return {"kind": "show", "key": key, "time": time, "id": id_ or f"s{key}", **columns}


def act(kind, key, time, id_=None, **columns) -> dict:
    return {"kind": kind, "key": key, "time": time, "id": id_ or f"{kind}-{key}-{time}", **columns}


KINDS = ["show", "show", "click", "like", "unlike", "watch", "nod"]
FEATURES = {
    "a": ((pa.int32(), pa.int64(), pa.float64(), pa.null(), pa.string()), (None, 1, 2), (None, "7", "x")),
    "b": ((pa.list_(pa.int64()), pa.list_(pa.float64())), (None, [], [1], [2, 3])),
}


def stream(
    seed, *, appends=12, rows=6, keys="int64", ids="string", shared=False, disorder=400
) -> list[Events]:
    """Appends to the partitions of one topic or of two, with times that rise but for ``disorder``.

    Keys and times are few, so that much meets. Impressions have features that come, go and change type; some events
    repeat, lack what they need, or lie ahead of their append.
    """
    draw = random.Random(seed)
    key = [0, 1, 2, -(2**63)] if keys == "int64" else ["", "a", "b", "\xfc\u20ac"]
    found, now = [], 0
    for _ in range(appends):
        now += draw.randint(0, 900)
        some = [
            {
                "kind": draw.choice(KINDS),
                "key": draw.choice(key),
                "time": max(0, now - draw.randint(-disorder // 4, disorder)),
                "id": draw.randint(0, 5 * appends),
                "ms": draw.choice([None, 0.0, 0.1, 0.7, 3.0, float("nan")]),
            }
            for _ in range(draw.randint(1, rows))
        ]
        for row in some:
            row["id"] = row["id"] if ids == "int64" else str(row["id"])
            if draw.random() < 0.1:
                row[draw.choice(["key", "time", "id"])] = None
        for topic in ("feed",) if shared else ("shows", "acts"):
            ours = [row for row in some if shared or (row["kind"] == "show") == (topic == "shows")]
            if ours:
                partition = draw.randrange((BOTH if shared else PARTITIONS)[topic])
                batch = _batch(draw, ours, keys, ids, carries=topic != "acts")
                found.append(Events(topic=topic, partition=partition, offset=0, time_ms=now, rows=batch))
    return found


def _batch(draw, rows, keys, ids, *, carries):
    columns = {
        "kind": pa.array([row["kind"] for row in rows]),
        "key": pa.array([row["key"] for row in rows], keys),
        "time": pa.array([row["time"] for row in rows], pa.int64()),
        "id": pa.array([row["id"] for row in rows], ids),
        "ms": pa.array([row["ms"] for row in rows], pa.float64()),
    }
    for name, (types, *values) in FEATURES.items():
        if carries and draw.random() < 0.6:
            kind = draw.choice(types)
            words = [None] if kind == pa.null() else values[-1 if kind == pa.string() else 0]
            columns[name] = pa.array([draw.choice(words) for _ in rows], kind)
    names = [*columns]
    draw.shuffle(names)
    return pa.record_batch({name: columns[name] for name in names})


def streams(*, most=12, **more):
    """Some `stream`."""
    return st.builds(
        lambda seed, appends: stream(seed, appends=appends, **more), st.integers(0), st.integers(1, most)
    )


@st.composite
def specs(draw, **more):
    """Any way to emit, any spans near those of `streams`."""
    few = draw(st.sampled_from([None, Downsample(label="clicked", rate=0.5, seed=draw(st.integers(0, 3)))]))
    return spec_of(
        window_s=draw(st.sampled_from([0, 0.3, 1, 2.5])),
        lateness_s=draw(st.sampled_from([0, 0.2, 1])),
        ahead_s=draw(st.sampled_from([None, 0])),
        emit=draw(st.sampled_from(["end", "at_once"])),
        negatives=few,
        **more,
    )


def said(samples) -> list[dict]:
    """Samples of a joiner or of the oracle, so that equal ones compare equal: without nulls, NaN as text."""
    rows = samples if isinstance(samples, list) else samples.to_pylist()
    return [
        {name: "nan" if value != value else value for name, value in row.items() if value is not None}
        for row in rows
    ]
