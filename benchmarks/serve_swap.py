"""What answers pay while a model changes under them: at a constant rate, half (``--share``) of what the engine can do, latencies
from the moment a request was due.

`bundle`: another is checked, loaded, measured, swapped in, and the one before freed. `deltas`: 2,000 rows twice a second.
`network`: deltas, and a network's weights that are compiled in a process of its own, loaded and swapped in. Each takes turns with
windows in which nothing changes, its `quiet`; `ratio`: its p99 to theirs. ``--bundle``: of `larix export`; without it a net of
3 experts over 200,000 rows is made.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import measure
import numpy as np
import pyarrow as pa
import safetensors.torch
import torch

from larix import features as fx
from larix.compile import capture_ranker
from larix.embedding import Message, Snapshot, Tables, TableSpec, wire
from larix.feed import ValueModel, WeightedSum
from larix.model.embed import Embed
from larix.serve import Request
from larix.serve.bundle import Bundle
from larix.serve.engine import Engine, EngineSettings
from larix.serve.export import Contents, Training, export
from larix.serve.models import Loading, Repository
from larix.serve.signature import signature_of
from larix.serve.warm import Warm, crossed

ROWS, CANDIDATES, TOUCHED = 200_000, 200, 2_000


class Net(torch.nn.Module):
    """Three experts and a gate over all columns."""

    def __init__(self, sample: fx.Sample) -> None:
        super().__init__()
        width = sum(slot.dim for slot in sample.id_slots.values()) + len(sample.dense)
        self.experts = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Linear(width, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128), torch.nn.ReLU()
            )
            for _ in range(3)
        )
        self.gate = torch.nn.Linear(width, 3)
        self.out = torch.nn.Linear(128, len(sample.tasks))

    def forward(self, inputs):
        x = inputs.joined
        hidden = torch.stack([expert(x) for expert in self.experts], dim=1)
        gate = torch.softmax(self.gate(x), dim=1)
        return self.out((gate.unsqueeze(2) * hidden).sum(dim=1))


class Run:
    """An online run in memory, as far as a served model sees of it: messages, in a list."""

    def __init__(self) -> None:
        self.sample = fx.Sample(
            user=fx.Id("user_id", dim=32),
            **{f"u{at}": fx.Id(f"u{at}", dim=16) for at in range(6)},
            item=fx.Id("item_id", dim=32),
            author=fx.Id("author_id", dim=16),
            length=fx.Dense("length"),
            tasks=(fx.Binary("click"), fx.Binary("like")),
            group="user_id",
        )
        torch.manual_seed(0)
        self.net = Net(self.sample).eval()
        specs = [TableSpec(name=name, dim=dim) for name, dim in self.sample.tables.items()]
        self.tables = Tables(specs, seed=1, threads=1)
        for spec in specs:
            self.tables.lookup(spec.name, np.arange(ROWS // len(specs)), insert=True)
        self.tables.cut()
        self.begun = self.sequence
        self.messages = [replace(self._message("fence", self.begun, version="begun"), offset=0)]
        self._coming: list[Message] = []
        self._next = iter(self._coming)
        self._random = np.random.default_rng(1)

    @property
    def sequence(self) -> int:
        return self.tables.sequence - 1

    def prepare(self, count: int) -> None:
        """Train ahead, so that publishing takes nothing from those who answer."""
        for _ in range(count):
            self._coming.append(self._trained())

    def publish(self) -> None:
        """Tell of the next delta."""
        self.messages.append(replace(next(self._next), offset=len(self.messages)))

    def _trained(self) -> Message:
        at = self.sequence
        ids = np.unique(self._random.integers(0, ROWS // len(self.tables.specs), TOUCHED))
        steps = self._random.standard_normal((len(ids), 32)).astype(np.float32) * 1e-3
        self.tables.update("item", ids, steps)
        self.tables.cut()
        payload = wire.to_bytes(self.tables.changes(at))
        self.tables.forget(self.sequence)
        return self._message("rows", self.sequence, payload=payload, first=at + 1)

    def tell(self) -> int:
        """Tell of the network, at the state that was published last."""
        weights = {name: value.contiguous() for name, value in self.net.state_dict().items()}
        last = self.messages[-1].last
        self.messages.append(self._message("dense", last, payload=bytes(safetensors.torch.save(weights))))
        return last

    def _message(self, kind: str, last: int, first: int = 0, **more: object) -> Message:
        marks = np.arange(first - 1 if first else last, last + 1).astype(np.uint64)
        return Message(
            kind=kind, history="run", first=first, last=last, marks=marks, group=f"{kind} {last}",
            time_ms=int(time.time() * 1e3), **more,
        )  # fmt: skip

    def bundle(self, folder: Path) -> Bundle:
        columns = {
            "user_id": pa.int64(), **{f"u{at}": pa.int64() for at in range(6)},
            "item_id": pa.int64(), "author_id": pa.int64(), "length": pa.float64(),
        }  # fmt: skip
        random = np.random.default_rng(0)
        records = pa.RecordBatch.from_pydict(
            {
                name: pa.array(random.integers(0, ROWS, 32) if kind == pa.int64() else random.random(32))
                for name, kind in columns.items()
            }
        )
        signature = signature_of(
            self.sample, records.schema, item="item_id", candidates=("item_id", "author_id", "length")
        )
        batch = self.sample.transform(crossed(records, signature, 4), labels=False)
        with torch.inference_mode():
            said = self.net(Embed(self.sample, self.tables)(batch, train=False)).numpy()
        contents = Contents(
            model="net", version="begun",
            training=Training(history="run", sequence=self.begun, step=1, mark=self.begun),
            sample=self.sample, signature=signature, vectors="item",
            value=ValueModel(fusion=WeightedSum(weights={"click": 1.0})),
            graph=capture_ranker(self.sample, self.net, signature.per_request),
            snapshot=self.tables.snapshot(), warm=Warm(records, said.reshape(32, 4, -1)),
        )  # fmt: skip
        return export(contents, folder)


class Reader:
    """Messages of a run from where it was asked to."""

    def __init__(self, run: Run) -> None:
        self._run, self._at = run, 0

    def poll(self, timeout_s: float) -> Sequence[Message]:
        found = self._run.messages[self._at :]
        self._at += len(found)
        return found

    def newest(self) -> Message:
        return self._run.messages[0]

    def seek(self, message: Message) -> None:
        self._at = message.offset + 1

    def snapshot(self, version: str) -> Snapshot:
        raise AssertionError("the bundle is the snapshot")

    def weights(self, version: str) -> bytes:
        raise AssertionError("the bundle has them")


class Load:
    """Requests at a constant rate from a thread of its own; ``found``: when each was due, and seconds until its answer."""

    def __init__(self, engine: Engine, requests: Sequence[tuple[pa.RecordBatch, pa.RecordBatch]]) -> None:
        self._engine, self._requests = engine, requests
        self.found: list[tuple[float, float]] = []
        self.failed: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rate = 0.0

    def calibrate(self, streams: int, share: float) -> None:
        """A ``share`` of what the engine answers when twice as many clients as there are streams ask without a pause."""
        over = time.perf_counter() + 3.0

        def client(_: int) -> int:
            number = 0
            while time.perf_counter() < over:
                self._engine.rank(self._request(number))
                number += 1
            return number

        with ThreadPoolExecutor(2 * streams) as pool:
            self.rate = share * sum(pool.map(client, range(2 * streams))) / 3.0

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        number, begun = 0, time.perf_counter()
        while not self._over.is_set():
            due = begun + number / self.rate
            if (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            future = self._engine.submit(self._request(number))
            future.add_done_callback(lambda done, due=due: self._note(done, due))
            number += 1

    def _request(self, number: int) -> Request:
        context, candidates = self._requests[number % len(self._requests)]
        return Request(id=str(number), context=context, candidates=candidates, count=20)

    def _note(self, done, due: float) -> None:
        error = done.exception()
        if error is None:
            self.found.append((due, time.perf_counter() - due))
        else:
            self.failed.append(str(error))  # not the error: it would hold on to what failed


def requests_of(bundle: Bundle) -> list[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Contexts of logged samples, each with candidates drawn from all of them."""
    signature, records, random = bundle.signature, bundle.warm.records, np.random.default_rng(0)
    found = []
    for row in range(min(32, len(records))):
        shown = records.take(pa.array(random.integers(0, len(records), CANDIDATES)))
        context = {name: records[name][row].as_py() for name in signature.context.names}
        candidates = {name: shown[name].to_pylist() for name in signature.candidates.names}
        found.append((signature.context_of(context, 0)[0], signature.candidates_of(candidates)[0]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.5)
    told = parser.parse_args()
    streams = told.streams or EngineSettings().workers
    for following in (False, True) if told.bundle is None else (False,):
        with tempfile.TemporaryDirectory() as folder:
            session(Path(folder), following, told, streams)


def session(folder: Path, following: bool, told: argparse.Namespace, streams: int) -> None:
    """One server: its bundle stays as it is and others come, or it follows a run."""
    run = Run() if told.bundle is None else None
    if run is None:
        shutil.copytree(told.bundle, folder / "1")
    else:
        run.bundle(folder / "1")
    follow = {"net": lambda: Reader(run)} if following else {}
    repository = Repository({"net": folder}, Loading(streams=streams, follow=follow, dense_s=0.0), keep=0)
    repository.load("net")
    settings = EngineSettings(workers=streams, sparse=streams, dense=streams, wait_s=10.0)
    with Engine(repository.route, settings) as engine:
        load = Load(engine, requests_of(Bundle.open(folder / "1")))
        load.calibrate(streams, told.share)
        if following:
            rounds = 2 if told.quick else 4
            run.prepare(400)
            work = {"deltas": partial(deltas, run, 4.0), "network": partial(network, run, repository)}
        else:
            rounds = 10 if told.quick else 30
            work = {"bundle": partial(bundle, repository, folder, iter(range(2, 1000)))}
        with load:
            time.sleep(2)
            for kind, do in work.items():
                report(kind, load, *measured(do, rounds))
    repository.close()


def bundle(repository: Repository, folder: Path, numbers: Iterator[int]) -> None:
    """Another bundle comes, is swapped in, and the one before is freed."""
    number = next(numbers)
    shutil.copytree(folder / "1", folder / f".{number}", copy_function=os.link)
    (folder / f".{number}").rename(folder / str(number))
    repository.poll()
    time.sleep(0.1)  # the last requests of the one before
    repository.poll()


def deltas(run: Run, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    """Deltas come for some seconds, or until something is the case."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and not until():
        run.publish()
        time.sleep(0.5)


def network(run: Run, repository: Repository) -> None:
    """A network's weights come, and deltas until it has been swapped in."""
    edition = repository.model().edition()
    wanted = run.tell()
    deltas(run, 120.0, lambda: edition.target.scorer.stamp.dense >= wanted)


Windows = list[tuple[float, float]]


def measured(do: Callable[[], None], rounds: int) -> tuple[Windows, Windows]:
    """When nothing was done and when it was, in turns of about as long."""
    quiet: Windows = []
    busy: Windows = []
    for _ in range(rounds):
        begun = time.perf_counter()
        do()
        busy.append((begun, time.perf_counter()))
        time.sleep(0.2)
        begun = time.perf_counter()
        time.sleep(min(busy[-1][1] - busy[-1][0], 10.0))
        quiet.append((begun, time.perf_counter()))
    return quiet, busy


def report(kind: str, load: Load, quiet: Windows, busy: Windows) -> None:
    """A line for each metric."""
    p99 = {}
    for name, windows in ((f"{kind} quiet", quiet), (kind, busy)):
        taken = [s for due, s in load.found if any(a <= due < b for a, b in windows)]
        milliseconds = np.array(taken) * 1e3
        p99[name] = float(np.percentile(milliseconds, 99))
        for metric, value in (
            ("p50_ms", np.percentile(milliseconds, 50)),
            ("p99_ms", p99[name]),
            ("max_ms", milliseconds.max()),
        ):
            measure.emit("serve_swap", "larix", name, metric, [float(value)], "ms", requests=len(taken))
    measure.emit("serve_swap", "larix", kind, "window_s", [b - a for a, b in busy], "s")
    ratio = p99[kind] / p99[f"{kind} quiet"]
    measure.emit("serve_swap", "larix", kind, "ratio", [ratio], "1", rate=round(load.rate))
    measure.emit("serve_swap", "larix", kind, "failed", [len(load.failed)], "1")


if __name__ == "__main__":
    main()
