"""The online trainer: samples out of a topic, each batch tested and trained on, deltas into another topic every second.

26 id slots of dim 16 with zipf-distributed ids, 13 dense values, a network of 256-128. The ceiling takes the same steps on the
same record batches: read and trained on, nothing tested, marked, published or saved.
"""

import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measure import emit

from larix import data, train
from larix import features as fx
from larix.data.log import DiskLog
from larix.embedding import RowAdagrad
from larix.model.inputs import Inputs
from larix.train.online import Deltas, LoggedSamples, OnlineSettings, Published, Watcher, online

BENCH = "online"
SLOTS, DIM, DENSE, BATCH, ZIPF = 26, 16, 13, 1024, 1.05
PER_MS = 20  # samples, by their own times
ADAMW = partial(torch.optim.AdamW, lr=1e-3, fused=True)


class Net(torch.nn.Module):
    def __init__(self, sample: fx.Sample) -> None:
        super().__init__()
        torch.manual_seed(0)
        width = SLOTS * DIM + DENSE
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(width, 256),
            torch.nn.ReLU(),
            torch.nn.Linear(256, 128),
            torch.nn.ReLU(),
            torch.nn.Linear(128, len(sample.tasks)),
        )

    def forward(self, inputs: Inputs) -> torch.Tensor:
        return self.layers(inputs.joined)


def declared() -> fx.Sample:
    slots: dict[str, fx.Feature] = {f"slot_{n}": fx.Id(f"slot_{n}", dim=DIM) for n in range(SLOTS)}
    slots |= {f"value_{n}": fx.Dense(f"value_{n}") for n in range(DENSE)}
    tasks = (fx.Binary("is_click"), fx.Binary("is_like"))
    return fx.Sample(**slots, tasks=tasks, group="slot_0")


def samples(rows: int, ids: int, seed: int) -> pa.RecordBatch:
    rng = np.random.default_rng(seed)
    mass = np.cumsum(np.arange(1, ids // SLOTS + 1, dtype=np.float64) ** -ZIPF)
    columns = {
        f"slot_{n}": np.searchsorted(mass, rng.random(rows) * mass[-1]).astype(np.int64) * SLOTS + n
        for n in range(SLOTS)
    }
    columns |= {f"value_{n}": rng.standard_normal(rows).astype(np.float32) for n in range(DENSE)}
    columns |= {"is_click": rng.integers(0, 2, rows, np.int8), "is_like": rng.integers(0, 2, rows, np.int8)}
    columns["ready_ms"] = 1_700_000_000_000 + (seed * 1000 + np.arange(rows)) // PER_MS
    return pa.record_batch(columns)


class Counting(Watcher):
    """How long deltas took from the instant of their rows to the disk."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.bytes = 0

    def published(self, published: Published) -> None:
        if published.kind == "rows":
            self.took.append(published.seconds)
            self.bytes += published.bytes


def trained(folder: Path, quick: bool) -> None:
    """Rounds of the loop and of the ceiling in turn, each on samples that neither has seen."""
    ids, rounds, rows = (200_000, 2, 30_000) if quick else (2_000_000, 5, 200_000)
    start = begun(folder, ids)
    rates, limits, took, sizes = [], [], [], []
    with DiskLog(folder / "log") as log:
        log.create("samples")
        learner = ceiling(folder / "start")
        for number in range(rounds + 1):  # the first is not counted: rows are born, memory is touched
            batches = [samples(1000, ids, 1000 + number * 1000 + n) for n in range(rows // 1000)]
            for batch in batches:
                log.send("samples", batch)
            log.flush()
            watcher, source = Counting(), LoggedSamples(log, "samples")
            begin: list[float] = []

            def until(begin: list[float] = begin) -> bool:
                begin.append(time.perf_counter())  # asked first once all is loaded
                return True

            settings = OnlineSettings(batch_size=BATCH, publish_every_s=1.0, save_every_s=1e9, window_s=60)
            outcome = online(
                start,
                source,
                folder / "run",
                ranker=Net,
                dense=ADAMW,
                settings=settings,
                deltas=Deltas(log=log),
                watcher=watcher,
                until=until,
            )
            ended = time.perf_counter()
            source.close()
            assert outcome.samples == (number + 1) * rows
            seconds = stepped(*learner, batches)
            if number:
                rates.append(rows / (ended - begin[0]))
                limits.append(rows / seconds)
                took += watcher.took
                sizes.append(watcher.bytes / (ended - begin[0]))
    more = {"batch": BATCH, "slots": SLOTS, "dim": DIM, "delta_bytes_per_s": round(float(np.median(sizes)))}
    emit(BENCH, "larix", "train", "events_per_s", rates, "samples/s", **more)
    emit(BENCH, "larix", "train", "p50_s", [float(np.percentile(took, 50))], "s", what="a delta to the disk")
    emit(BENCH, "larix", "train", "p99_s", [float(np.percentile(took, 99))], "s", what="a delta to the disk")
    emit(BENCH, "ceiling", "train", "events_per_s", limits, "samples/s", batch=BATCH)


def begun(folder: Path, ids: int) -> Path:
    """The folder of a run to begin from."""
    path = folder / "first.parquet"
    pq.write_table(pa.Table.from_batches([samples(20 * BATCH, ids, 0)]), path)
    sample = declared()
    settings = train.Settings(batch_size=BATCH, prefetch=1)
    rows = RowAdagrad(lr=0.05)
    run = train.fit(
        sample,
        Net(sample),
        data.files(path),
        rows=rows,
        dense=ADAMW,
        settings=settings,
        folder=folder / "start",
    )
    return run.folder


def ceiling(start: Path) -> tuple[train.Learner, train.Settings]:
    from larix.train.learner import make_learner
    from larix.train.threads import torch_team

    run = train.Run.load(start, Net)
    run.tables.borrow_threads(torch_team())
    return make_learner(run.sample, run.ranker.train(), run.tables, ADAMW, run.settings), run.settings


def stepped(learner: train.Learner, settings: train.Settings, batches: list[pa.RecordBatch]) -> float:
    """Seconds that plain steps on the same samples take."""
    table = pa.Table.from_batches(batches).combine_chunks()
    records = [each for at in range(0, len(table), BATCH) for each in table.slice(at, BATCH).to_batches()]
    begun = time.perf_counter()
    for each in records:
        batch = learner.embed.sample.transform(each)
        train.step(learner, batch, learner.embed(batch, train=True), settings)
    return time.perf_counter() - begun
