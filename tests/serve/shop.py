"""A small world to serve: a declaration with every kind of feature, records of it, and which columns are the items'."""

import numpy as np
import pyarrow as pa

from larix import features as fx

ITEM = "item_id"
THEIRS = ("item_id", "tags", "price", "kind")


def sample():
    """Ids, lists, numbers and times; a table shared over both halves whose dim only one slot tells; a cross of both."""
    return fx.Sample(
        user=fx.Id("user_id", dim=4),
        item=fx.Id("item_id", dim=8),
        tags=fx.Ids("tags", dim=4),
        last=fx.Id("last_item", table="item"),
        pair=fx.Cross("user_id", "item_id", dim=4),
        price=fx.Bucket("price", edges=(1.0, 5.0, 9.0), dim=2),
        kind=fx.Id("kind", dim=2),
        hour=fx.Hour("time_ms", dim=2),
        cost=fx.Dense("price", transform="log1p", standardise=True, mean=0.5, std=2.0),
        age=fx.Dense("age", missing="mean", mean=30.0, std=1.0),
        history=fx.Sequence(item="seen", rating=fx.Dense("seen_rating"), ago=fx.LogAge("seen_ms"), newest=4),
        tasks=(fx.Binary("click"), fx.Seconds("play_ms")),
        group="user_id",
        scene="tab",
        time="time_ms",
    )


def records(rows=64, seed=0):
    """Logged samples of it, labels and nulls included, in the types of a log."""
    draw = np.random.default_rng(seed)
    some = draw.random(rows) < 0.2
    lengths = draw.integers(0, 7, rows)
    now = 1_700_000_000_000 + draw.integers(0, 10**9, rows)
    lists = [draw.integers(0, 40, n).tolist() for n in lengths]
    return pa.RecordBatch.from_pydict(
        {
            "user_id": pa.array(draw.integers(-5, 20, rows)),
            "item_id": pa.array(draw.integers(0, 50, rows)),
            "tags": pa.array([draw.integers(0, 9, n % 3).tolist() if n else None for n in lengths]),
            "last_item": pa.array(draw.integers(0, 50, rows), mask=some),
            "price": pa.array(draw.random(rows) * 10, mask=some[::-1]),
            "kind": pa.array([f"kind {n % 4}" for n in lengths]).dictionary_encode(),
            "age": pa.array(draw.integers(10, 80, rows).astype(np.int8), mask=some),
            "tab": pa.array((lengths % 3).astype(np.int32)),
            "time_ms": pa.array(now * 1000 + 999, pa.timestamp("us")),
            "seen": pa.array(lists, pa.large_list(pa.int64())),
            "seen_rating": pa.array([[0.1 * each for each in row] for row in lists], pa.list_(pa.float32())),
            "seen_ms": pa.array(
                [[int(at) - 60_000 * n for n in range(len(row))] for at, row in zip(now, lists, strict=True)],
                pa.list_(pa.int64()),
            ),
            "click": pa.array((draw.random(rows) < 0.4).astype(np.int8)),
            "play_ms": pa.array(draw.integers(0, 60_000, rows)),
        }
    )
