"""What comes in as it should not: events that no producer should have sent, and more of them than can be trained on."""

import threading

import numpy as np
import onlining
import pyarrow as pa
import pyarrow.compute as pc
from onlining import Recorder

from larix.data.log import DiskLog
from larix.train.online import JoinedSamples, LoggedSamples, Progress

DAY = 86_400_000


def appends_of(log):
    """All appends of impressions and actions, in the order in which they were made: topic, partition and rows."""
    turns = []
    for topic, partitions in (("impressions", 2), ("actions", 1)):
        for partition in range(partitions):
            with log.consumer(topic, partitions=[partition]) as consumer:
                mine = [events.rows for events in consumer.drain()]
            turns += [(at * partitions + partition, topic, partition, rows) for at, rows in enumerate(mine)]
    return [turn[1:] for turn in sorted(turns, key=lambda turn: (turn[0], turn[1] == "actions"))]


def changed(rows, **columns):
    for name, values in columns.items():
        rows = rows.set_column(rows.schema.names.index(name), name, values)
    return rows


def strange(rows, number):
    """What should never have been sent, made of an append that was: without key, time or id, of a day ago, of the year 2100."""
    size = len(rows)
    other = pa.array([f"strange{number}-{at}" for at in range(size)])
    later = changed(rows, event_id=other, time_ms=pc.add(rows["time_ms"], 80 * 365 * DAY))
    older = changed(rows, event_id=other, time_ms=pc.subtract(rows["time_ms"], DAY))
    nulls = [
        changed(rows, event_id=other, **{name: pa.nulls(size, rows[name].type)})
        for name in ("impression_id", "time_ms")
    ]
    return [later, older, *nulls, changed(rows, event_id=pa.nulls(size, pa.string())), rows]


def fast(start, tmp_path, source):
    """Train for a hundred batches, four of which come for each that is trained on; what was told, and Arrow's bytes by then."""
    whole = onlining.feed(tmp_path / "feed", rows=30_000)
    stop, memory = threading.Event(), []
    if source == "samples":
        waiting = [("samples", 0, rows) for rows in whole.to_batches(max_chunksize=256)]
        log, each = onlining.log_of(tmp_path / "log", whole.slice(0, 0)), 1
    else:
        with onlining.events_of(tmp_path / "all", whole, each=256) as events:
            waiting = appends_of(events)
        log, each = DiskLog(tmp_path / "log"), 2
        log.create("impressions", partitions=2)
        log.create("actions")
    coming = iter(waiting)

    def send(batches):
        for _ in range(batches * each):
            topic, partition, rows = next(coming)
            log.append(topic, rows, partition=partition)

    def then(progress):
        send(1)
        memory.append(pa.total_allocated_bytes())
        if progress.step == 100:
            stop.set()

    send(8)
    joins = source == "events"
    taken = (
        JoinedSamples(log, onlining.spec(), max_rows=256)
        if joins
        else LoggedSamples(log, "samples", max_rows=256)
    )
    recorder = Recorder(then=then)
    onlining.run(
        start, log, tmp_path / "run", samples=taken, watcher=recorder, stop=stop, until=lambda: False
    )
    log.close()
    return recorder.of(Progress), np.array(memory)
