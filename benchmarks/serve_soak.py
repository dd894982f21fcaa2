"""What a server does over time: requests at a constant rate while it learns and its bundle is swapped, twice.

A real `larix serve` of an online run, whose trainer goes on publishing in a process of its own, is asked for pages at
``--share`` (.8) of the rate that it was just found to hold; latencies count from when a request was planned for. After a third
of the time it is given a bundle of what the run has become, after two thirds the first one again. Before the measured time
begins it has made one swap already, so that a live and a former version are in memory throughout.

`errors`: answers other than 200, refusals and none at all; `rss_mb`: of the server's lasting processes, at the beginning, the
middle and the end, and `peak_rss_mb` of all, with those that compile a network for some seconds;
`stale_stamps`: a network newer than its rows, or rows older than those of an answer that was there before this request was
planned, by version and across versions; latencies are of what was answered, -1 if nothing was; `cpu_waited`: the share of time
in which something that could run had no core.
"""

import argparse
import bisect
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import serve_cases
from measure import PEERS, emit
from numpy.typing import NDArray
from serve_load import Load, read_requests

from serve import CONNECTIONS, Subject, descendants, free_port, lasting, running

BENCH = "serve_soak"
HERE = Path(__file__).resolve().parent
LARIX = (sys.executable, "-c", "import larix.cli; larix.cli.main()")
AFTER_S = 5.0  # of a swap: its first answers, and the version before let go of
STAMP = re.compile(
    rb'"version": ?"([^"]*)".*?"history": ?"([^"]*)", ?"rows": ?(\d+), ?"dense": ?(\d+)', re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Swap:
    """When a bundle was put in place, and when the first answer of it was there, by ``time.perf_counter``."""

    to: str
    put: float
    seen: float


class Answers:
    """What was answered, in the order in which it came: version, history, rows and network by number of the request."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.stamps: list[tuple[str, str, int, int]] = []
        self.first: dict[str, float] = {}

    def __call__(self, number: int, response: bytearray) -> None:
        told = STAMP.search(response)
        if told is None:
            raise SystemExit(f"an answer has no stamp: {bytes(response[:500])!r}")
        version, history, rows, dense = told.groups()
        self.numbers.append(number)
        self.stamps.append((version.decode(), history.decode(), int(rows), int(dense)))
        self.first.setdefault(version.decode(), time.perf_counter())

    def clear(self) -> None:
        self.numbers.clear()
        self.stamps.clear()
        self.first.clear()


class Server:
    """The served run's folder, and what happens to its bundles."""

    def __init__(self, online: Path, first: Path, answers: Answers) -> None:
        self.first, self._bundles, self._online, self._answers = first, first.parent, online, answers

    def export(self) -> Path:
        """The run's newest version as a bundle, made beside by a process that gives way."""
        beside = self._online / "made"
        made = beside / max(each.name for each in (self._online / "versions").glob("step-*"))
        words = ["nice", "-n", "10", *LARIX, "export", str(self._online), "-o", str(made), "--name", "soak"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        return made

    def swap(self, bundle: Path, name: str) -> Swap:
        """Put a bundle in place by ``name`` and wait until it answers. SystemExit if it never does."""
        shutil.copytree(bundle, self._bundles / f".{name}")
        (self._bundles / f".{name}").rename(self._bundles / name)
        put = time.perf_counter()
        while name not in self._answers.first:
            if time.perf_counter() > put + 120:
                raise SystemExit(f"the bundle '{name}' does not answer within two minutes")
            time.sleep(0.05)
        return Swap(name, put, self._answers.first[name])


class Happenings:
    """What goes on beside the load: swaps at a third and two thirds, and the server's memory once a second."""

    def __init__(self, server: Server, pid: int, seconds: float) -> None:
        self._server, self._pid, self._seconds = server, pid, seconds
        self.begun = time.perf_counter()
        self.swaps: list[Swap] = []
        self.exported = (0.0, 0.0)
        self.rss: list[tuple[float, float, float]] = []
        self.error: BaseException | None = None
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._swap, self._watch)]

    def __enter__(self) -> "Happenings":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def _swap(self) -> None:
        try:
            self._until(self._seconds / 3 - 40)  # an export takes about so long
            begun = time.perf_counter()
            other = self._server.export()
            self.exported = begun, time.perf_counter()
            self._until(self._seconds / 3)
            self.swaps.append(self._server.swap(other, other.name))
            self._until(self._seconds * 2 / 3)
            self.swaps.append(self._server.swap(self._server.first, f"{other.name}-back"))
        except BaseException as error:
            self.error = error

    def _watch(self) -> None:
        while not self._over.is_set():
            self.rss.append((time.perf_counter() - self.begun, *resident_mb(self._pid)))
            self._over.wait(1.0)

    def _until(self, seconds: float) -> None:
        self._over.wait(max(0.0, self.begun + seconds - time.perf_counter()))


@contextmanager
def training(
    run: Path, online: Path, log: Path, pace: float, told: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The trainer's process, once it has a version and the topic is there. SystemExit if it ends before."""
    with told.open("wb") as file:
        words = [str(run), str(online), str(log), str(pace)]
        process = subprocess.Popen(
            ["nice", sys.executable, str(HERE / "serve_soak_trainer.py"), *words], stdout=file, stderr=file
        )
        try:
            while not ([*(online / "versions").glob("step-*")] and (log / "topics" / "deltas").is_dir()):
                if process.poll() is not None:
                    raise SystemExit(f"the trainer does not begin; {told} says why")
                time.sleep(0.3)
            yield process
        finally:
            process.kill()  # nothing of it is kept
            process.wait()


def say(text: str) -> None:
    """What is being done, for whoever watches."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def resident_mb(pid: int) -> tuple[float, float]:
    """What of a process and its children lies in memory, without those that compile and with them; what they share counts for
    each.
    """
    lasting = whole = 0.0
    for each in descendants(pid):
        with suppress(OSError):  # it has ended meanwhile, as those that compile do
            taken = int(Path(f"/proc/{each}/statm").read_text().split()[1])
            whole += taken
            lasting += taken * (b"/.compiling-" not in Path(f"/proc/{each}/cmdline").read_bytes())
    page_mb = os.sysconf("SC_PAGE_SIZE") / 1e6
    return lasting * page_mb, whole * page_mb


def waited_s() -> float:
    """Seconds since the machine started in which something that could run had no core; NaN if the kernel does not say."""
    try:
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
    except OSError:
        return float("nan")
    return int(some.rsplit("total=", 1)[1]) / 1e6


def held(load: Load, p99_ms: float, seconds: float) -> float:
    """A rate at which 99 of 100 are answered within ``p99_ms``, and above which they are not, found by halving.

    It is looked for from the middle, for on some machines few requests take longer each than many, whose cores never
    fall asleep. Two of three tries decide: a network may be compiled beside one of them.
    """

    def once(rate: float) -> bool:
        p99 = load.run(rate, lasting(rate, seconds))["latency"]["p99"]
        say(f"{rate:.0f} a second: p99 {'none' if p99 is None else f'{p99 * 1e3:.1f} ms'}")
        return p99 is not None and p99 * 1e3 <= p99_ms

    def in_time(rate: float) -> bool:
        first, second = once(rate), once(rate)
        return first if first == second else once(rate)

    low = 100.0
    while not in_time(low):
        low /= 1.6
        if low < 10.0:
            raise SystemExit(f"10 requests a second are not answered within {p99_ms} ms here")
    high = low * 1.6
    while in_time(high):
        low, high = high, high * 1.6
    for _ in range(3):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if in_time(middle) else (low, middle)
    return low


def stale(numbers: Sequence[int], stamps: Sequence[tuple[str, str, int, int]], load: Load) -> dict[str, int]:
    """How many stamps say what cannot be: see the module."""
    done = [float(load.planned[number] + load.latency[number]) for number in numbers]
    found = Counter(dense=0, version=0, history=0)
    best: dict[tuple[str, ...], tuple[list[float], list[int]]] = {}
    for at, (version, history, rows, dense) in enumerate(stamps):
        found["dense"] += dense > rows
        for key in ((version, history), (history,)):
            times, most = best.setdefault(key, ([], []))
            before = bisect.bisect_left(times, float(load.planned[numbers[at]]))
            if before and most[before - 1] > rows:
                found["version" if len(key) == 2 else "history"] += 1
            times.append(done[at])
            most.append(max(rows, most[-1] if most else rows))
    return dict(found)


def report(load: Load, answers: Answers, result: dict, beside: Happenings, case: str, **more: object) -> None:
    """A line for each metric."""
    due = load.planned - load.planned[0]
    taken = load.latency * 1e3

    def tell(metric: str, value: float, unit: str, **here: object) -> None:
        emit(BENCH, "larix", case, metric, [value], unit, **more, **here)

    def p(share: float, among: NDArray[np.bool_]) -> float:
        """Of those that were answered: others are errors."""
        answered = taken[among & np.isfinite(taken)]
        return float(np.quantile(answered, share, method="higher")) if len(answered) else -1.0

    refused = sum(number for status, number in result["status"].items() if status in ("429", "503", "504"))
    failed = result["sent"] - result["answered"] - refused
    tell("errors", failed + refused, "1", refused=refused, status=result["status"], sent=result["sent"])
    failed_at = np.floor(due[~np.isfinite(taken)] / 10).astype(int) * 10
    at, number = np.unique(failed_at, return_counts=True)
    say(f"not answered, by the second from which on: {dict(zip(at.tolist(), number.tolist(), strict=True))}")
    minutes = range(max(1, round(due[-1] / 60)))
    for minute in minutes:
        among = (due >= 60 * minute) & (due < 60 * (minute + 1))
        for share in (0.5, 0.99):
            tell(f"p{share * 100:.0f}_ms", p(share, among), "ms", minute=minute)
    quiet = np.ones(len(due), np.bool_)
    for swap in beside.swaps:
        put, seen = (each - load.planned[0] for each in (swap.put, swap.seen))
        quiet &= (due < put) | (due > seen + AFTER_S)
    begun, ended = (each - load.planned[0] for each in beside.exported)
    exporting = (due >= begun) & (due <= ended)
    tell("p99_export_ms", p(0.99, exporting), "ms", seconds=round(ended - begun, 1))
    for number, swap in enumerate(beside.swaps):
        put, seen = (each - load.planned[0] for each in (swap.put, swap.seen))
        during = (due >= put) & (due <= seen + AFTER_S)
        before = quiet & ~exporting & (due >= put - 60) & (due < put)
        tell("p99_swap_ms", p(0.99, during), "ms", swap=number, seconds=round(seen - put, 1), to=swap.to)
        tell("p99_before_swap_ms", p(0.99, before), "ms", swap=number)
        tell("swap_ratio", p(0.99, during) / p(0.99, before), "1", swap=number)
    rss = np.array(beside.rss)
    for name, at in (("begin", 0), ("middle", len(rss) // 2), ("end", len(rss) - 1)):
        tell("rss_mb", float(rss[at, 1]), "MB", at=name)
    tell("peak_rss_mb", float(rss[:, 2].max()), "MB")
    for name, part in (("whole", rss), ("second half", rss[len(rss) // 2 :])):
        slope = float(np.polyfit(part[:, 0] / 60, part[:, 1], 1)[0])
        tell("rss_slope_mb_per_min", slope, "MB/min", over=name)
    for name, count in stale(answers.numbers, answers.stamps, load).items():
        tell("stale_stamps", count, "1", kind=name)
    tell("versions", len({stamp[0] for stamp in answers.stamps}), "1")
    tell("states_of_rows", len({stamp[1:3] for stamp in answers.stamps}), "1")
    tell("networks", len({stamp[1:4:2] for stamp in answers.stamps}), "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument(
        "--processes", type=int, default=2, help="worker processes; 0: the server alone answers"
    )
    parser.add_argument("--run", type=Path, help="a run of a recipe; a net of random samples without one")
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.8, help="of the rate that is held")
    parser.add_argument("--pace", type=float, default=200.0, help="samples a second that are trained on")
    parser.add_argument("--p99-ms", type=float, default=30.0, help="that a rate is held by")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    path = [str(HERE), os.environ.get("PYTHONPATH", "")]  # the net's recipe is here
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    folder = PEERS.parent / "serve"
    folder.mkdir(parents=True, exist_ok=True)
    name = "net" if args.run is None else "kuairand"
    run = serve_cases.run_of(name, folder, args.run)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="larix-soak-")))
        online, log, requests, port = place / "online", place / "log", place / "requests", free_port()
        trainer = stack.enter_context(training(run, online, log, args.pace, folder / "soak-trainer.log"))
        words = ["serve", f"soak={online}", "--follow", str(log), "--port", str(port), "--timeout-ms", "5000"]
        subject = Subject(
            name="larix-soak",
            command=[*LARIX, *words, "--streams", str(args.streams), "--processes", str(args.processes)],
            health="/v2/health/ready",
            requests=requests,
            port=port,
        )
        say("the run's newest version is exported and served")
        pid = stack.enter_context(running(subject, None))
        first = max((online / "bundles").iterdir())
        asked = serve_cases.Asked(run, first, args.candidates)
        serve_cases.write(requests, "127.0.0.1", "/v1/rank", asked.json())
        answers = Answers()
        load = Load(("127.0.0.1", port), read_requests(requests), CONNECTIONS, answers)
        gc.collect()
        gc.freeze()
        load.run(4, 2)
        load.run(20, 3)
        server = Server(online, first, answers)
        say("the same bundle again, to begin with two")
        again = threading.Thread(target=server.swap, args=(server.first, f"{server.first.name}-again"))
        again.start()
        while again.is_alive():
            load.run(4, 2)
        say("what rate is held")
        rate = held(load, args.p99_ms, 3.0)
        say(f"{rate:.0f} a second are held")
        answers.clear()
        seconds = 60 * args.minutes
        waited = waited_s()
        with Happenings(server, pid, seconds) as beside:
            result = load.run(args.share * rate, seconds)
        waited = (waited_s() - waited) / seconds
        if beside.error is not None:
            raise beside.error
        if trainer.poll() is not None:
            raise SystemExit(f"the trainer has ended; {folder / 'soak-trainer.log'} says why")
        case = f"{name} {args.candidates}"
        machine = {
            "machine_load": [round(each, 1) for each in os.getloadavg()],
            "cpu_waited": round(waited, 2),
        }
        about = {
            "minutes": args.minutes,
            "streams": args.streams,
            "processes": args.processes,
            "rate": round(args.share * rate, 1),
        }
        report(load, answers, result, beside, case, **about, **machine)


if __name__ == "__main__":
    main()
