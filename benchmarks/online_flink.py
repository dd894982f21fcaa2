"""The sample join in Flink, from files of JSON lines to files of JSON lines, at parallelism 2.

Two inputs, one twice as large: what the smaller one takes (planning, starting, compiling) is taken off the larger one's time.
"""

import time
from dataclasses import replace
from pathlib import Path

import polars as pl
from measure import absent, emit
from online_join import PARTITIONS, batches, spec

from larix.data.join import JoinSpec, flink
from larix.data.log import Events

BENCH = "online"
PARALLELISM = 2


def joined(folder: Path, quick: bool) -> None:
    """Print events/s of the job, once it is warm."""
    _measure(folder, quick, "join flink", replace(spec(window_s=20), emit="end"))


def joined_at_once(folder: Path, quick: bool) -> None:
    """The same job with a sample at once and corrections."""
    _measure(folder, quick, "join flink at once", replace(spec(window_s=20), emit="at_once"))


def _measure(folder: Path, quick: bool, case: str, declared: JoinSpec) -> None:
    if why := flink.missing():
        absent(BENCH, case, why)
        return
    few, many = (1, 3) if quick else (8, 24)
    seconds, events = {}, {}
    with flink.Flink(heap="3g") as jvm:
        for turn, count in enumerate((few, few, many)):  # the first time is thrown away: the JVM compiles
            pushes = [append for batch in batches(count) for append in batch]
            into = folder / str(turn)
            into.mkdir()
            write(pushes, into)
            events[count] = sum(len(append.rows) for append in pushes)
            schemas = {append.topic: append.rows.schema for append in pushes}
            files = flink.Files(folder=into, partitions=dict.fromkeys(schemas, PARTITIONS))
            script = flink.sql(declared, schemas, source=files, sink=files)
            start = time.perf_counter()
            jvm.run(script, parallelism=PARALLELISM)
            seconds[count] = time.perf_counter() - start
    if seconds[many] <= seconds[few]:
        absent(
            BENCH,
            case,
            f"{events[many]} events took no longer than {events[few]}: the machine does other things",
        )
        return
    rate = (events[many] - events[few]) / (seconds[many] - seconds[few])
    emit(BENCH, "larix", case, "events_per_s", [rate], "1/s", parallelism=PARALLELISM, whole_s=seconds[many])


def write(appends: list[Events], folder: Path) -> None:
    """A file for each partition."""
    for append in appends:
        with (folder / f"{append.topic}-{append.partition}.json").open("ab") as file:
            file.write(pl.DataFrame(append.rows).write_ndjson().encode())
