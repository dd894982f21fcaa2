"""How much a server answers in time: requests of raw features over HTTP at a constant rate, whatever comes back.

`rps_at_p99_30ms`: the highest rate, found by halving, at which 99 of 100 requests are answered within 30 ms of the moment
they were planned for; then `p50_ms`, `p99_ms` and `p999_ms` at that rate. Last a flood, four times what was too much: `cpu`, the
share of the server's cores that is busy, `saturated_per_s`, what is answered, and `flooded_p99_ms`, the p99 of that. The load
comes from a core of its own; the server has the others. Ours asks for `binary` tensors and for `json`. With ``--peers`` the same
net and requests behind other servers, in turn with ours.

`adds` is the share of the bare engine's capacity that the server takes: 1 - `saturated_per_s` / `capacity`. The bare engine has
the server's cores, processes, streams and pinning, features and all stages, and as many requests under way as let it batch; what
it has not: bodies to read, answers to write, sockets, another process to give its cores to, and the three requests that are
refused for each that is answered in the flood. So all of that is in `adds`: reading and refusing, not the server's code alone.
`quiet_ms` is the p50 of both while there is hardly anything to do, `adds_ms_alone` what the server adds to it.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import serve_cases
from measure import PEERS, absent, emit, peer_python
from serve_added import QUIET_PER_S, QUIET_S, added, bare
from serve_load import GIVE_UP_S
from serve_peers import PEERS_BY_NAME, command, environment, requirements

HERE = Path(__file__).resolve().parent
BENCH = "serve"
P99_MS = 30.0
CASES = ("kuairand 50", "kuairand 200", "kuairand 500", "net 200")
CONNECTIONS = 256
UNITS = {
    "rps_at_p99_30ms": "1/s",
    "saturated_per_s": "1/s",
    "capacity": "1/s",
    "cpu": "share",
    "failed": "share",
}


@dataclass(kw_only=True, slots=True)
class Subject:
    """One server: how it is started, where it says that it is ready, and what it is asked. ``found``: by metric."""

    name: str
    command: Sequence[str]
    health: str
    requests: Path
    port: int
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path()
    found: dict[str, list[float]] = field(default_factory=dict)


class Cores:
    """The load's core and the server's, and how busy the latter are."""

    def __init__(self) -> None:
        there = sorted(os.sched_getaffinity(0))
        if len(there) < 2:
            raise SystemExit("two cores are needed: one for the load, one or more for the server")
        self.server, self.load = there[:-1], there[-1:]

    def busy(self) -> tuple[float, float]:
        """Busy and all seconds of the server's cores since the machine started."""
        busy = whole = 0.0
        for line in Path("/proc/stat").read_text().splitlines():
            name, *values = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in self.server:
                ticks = [int(each) for each in values[:8]]
                whole += sum(ticks)
                busy += sum(ticks) - ticks[3] - ticks[4]  # idle, and waiting for disks
        return busy, whole


class Sender:
    """The load generator's process."""

    def __init__(self, subject: Subject, cores: Cores) -> None:
        words = ["127.0.0.1", str(subject.port), str(subject.requests), str(CONNECTIONS), _listed(cores.load)]
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "serve_load.py"), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, rate: float, seconds: float) -> dict[str, Any]:
        """See ``Load.run``."""
        self._begin(rate, seconds)
        return self._result()

    def flood(self, rate: float, seconds: float, cores: Cores) -> tuple[dict[str, Any], float]:
        """The same, and how busy the server's cores were from when it was under way until the last request was sent."""
        self._begin(rate, seconds)
        time.sleep(0.3 * seconds)
        before = cores.busy()
        time.sleep(0.6 * seconds)
        busy, whole = (now - then for now, then in zip(cores.busy(), before, strict=True))
        return self._result(), busy / whole

    def _begin(self, rate: float, seconds: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"rate": rate, "seconds": seconds}) + "\n")
        self._process.stdin.flush()

    def _result(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise RuntimeError(f"the load broke off with status {self._process.wait()}")
        return dict(json.loads(text))

    def end(self) -> None:
        self._process.communicate(timeout=30)


@contextlib.contextmanager
def running(subject: Subject, cores: Cores | None, patience_s: float = 180.0) -> Iterator[int]:
    """The server, up and ready, by its process; ended with all that it started. ``cores``: None are all of them."""
    log = (PEERS.parent / f"serve-{subject.name.split()[0]}.log").open("wb")
    process = subprocess.Popen(
        subject.command,
        cwd=subject.folder,
        env={**os.environ, **subject.env},
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores.server),
    )
    try:
        until = time.monotonic() + patience_s
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{subject.name} does not come up; {log.name} says why")
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(
                    f"http://127.0.0.1:{subject.port}{subject.health}", timeout=2
                ) as answer,
            ):
                if answer.status == 200:
                    break
            time.sleep(0.3)
        yield process.pid
    finally:
        family = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        log.close()


def descendants(pid: int) -> list[int]:
    """A process and all that it and they have started."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            child, rest = path.read_text().rsplit(")", 1)
            children.setdefault(int(rest.split()[1]), []).append(int(child.split()[0]))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def in_time(result: Mapping[str, Any]) -> bool:
    """Whether a rate was held: 99 of 100 within the limit, and no request waited for a connection."""
    p99 = result["latency"]["p99"]
    return p99 is not None and p99 * 1e3 <= P99_MS and result["answered_per_s"] >= 0.97 * result["rate"]


def measure(subject: Subject, cores: Cores, seconds: float, steps: int, runs: int) -> None:
    """One round of one subject, its server started for it and ended."""
    with running(subject, cores):
        sender = Sender(subject, cores)
        warm_up(sender, subject)
        quiet = sender.send(QUIET_PER_S, max(seconds, QUIET_S))
        _note(subject, quiet_ms=(quiet["latency"]["p50"] or GIVE_UP_S) * 1e3)
        rate, held = 50.0, 0.0
        while in_time(sender.send(rate, lasting(rate, seconds))):
            held, rate = rate, rate * 1.6
        low, high = held, rate
        for _ in range(steps):
            middle = (low * high) ** 0.5 if low else high / 2
            if in_time(sender.send(middle, lasting(middle, seconds))):
                low = middle
            else:
                high = middle
        _note(subject, rps_at_p99_30ms=low)
        for _ in range(runs if low else 0):
            last = sender.send(low, lasting(low, seconds))
            _note(subject, failed=1 - last["answered"] / last["sent"])
            _note(
                subject,
                **{
                    f"{name}_ms": (last["latency"][name] or GIVE_UP_S) * 1e3
                    for name in ("p50", "p99", "p999")
                },
            )
        # Last, since some servers go on with what nobody waits for any more.
        flood, busy = sender.flood(max(4 * high, 200), seconds, cores)
        _note(subject, cpu=busy, saturated_per_s=flood["answered_per_s"])
        _note(subject, flooded_p99_ms=(flood["answered_p99"] or GIVE_UP_S) * 1e3)
        sender.end()


def warm_up(sender: Sender, subject: Subject, patience_s: float = 60.0) -> None:
    """Until it answers, which some servers do not as soon as they say that they are ready, and then a little."""
    until = time.monotonic() + patience_s
    while (first := sender.send(4, 0.5))["answered"] < first["sent"]:
        if time.monotonic() > until:
            raise RuntimeError(f"{subject.name} answers {first['status']} to requests that it should take")
    sender.send(20, 3)


def lasting(rate: float, seconds: float) -> float:
    """So long that 99 of 100 means something: 300 requests or more, if that takes less than four times as long."""
    return min(4 * seconds, max(seconds, 300 / rate))


def _note(subject: Subject, **values: float) -> None:
    for name, value in values.items():
        subject.found.setdefault(name, []).append(value)


def ours(case: str, run: Path, bundle: Path, folder: Path, streams: int, processes: int) -> list[Subject]:
    """Our server, asked in binary and in JSON."""
    asked = serve_cases.Asked(run, bundle, int(case.split()[1]))
    found = []
    for kind, route in (("binary", f"/v2/models/{asked.model}/infer"), ("json", "/v1/rank")):
        port = free_port()
        bodies = asked.binary() if kind == "binary" else asked.json()
        path = serve_cases.write(
            folder / f"{case.replace(' ', '-')}-{kind}.requests", "127.0.0.1", route, bodies
        )
        words = ["-c", "from larix.cli import main; main()", "serve", str(bundle), "--port", str(port)]
        found.append(
            Subject(
                name=f"larix {kind}",
                command=[
                    *(sys.executable, *words, "--streams", str(streams), "--processes", str(processes)),
                    *("--timeout-ms", "5000"),
                ],
                health="/v2/health/ready",
                requests=path,
                port=port,
            )
        )
    return found


def peers(names: Sequence[str], run: Path, bundle: Path, folder: Path, cores: Cores) -> list[Subject]:
    """Other servers over the same net and requests, each eager and through OpenVINO."""
    plain = serve_cases.export_plain(run, folder)
    asked = serve_cases.Asked(run, bundle, 200)
    found = []
    for name in names:
        peer = PEERS_BY_NAME[name]
        bodies: Sequence[Any] = asked.triton() if name == "triton" else asked.json()
        path = serve_cases.write(folder / f"net-200-{name}.requests", "127.0.0.1", peer.route, bodies)
        try:
            python = peer_python(f"serve-{name}", *requirements(name))
        except subprocess.CalledProcessError as error:
            absent(BENCH, name, f"it cannot be installed here: {error}")
            continue
        version = subprocess.run(
            [python, "-c", f"from importlib.metadata import version; print(version({peer.package!r}))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        workers = len(cores.server)
        for backend in ("torch", "openvino"):
            port = free_port()
            found.append(
                Subject(
                    name=f"{name} {version} {backend}",
                    command=command(name, python, port, workers),
                    health=peer.health,
                    requests=path,
                    port=port,
                    env=environment(plain, backend, workers),
                    folder=HERE,
                )
            )
    return found


def report(case: str, subjects: Sequence[Subject], cores: Cores) -> None:
    for subject in subjects:
        for metric, values in subject.found.items():
            emit(BENCH, subject.name, case, metric, values, UNITS.get(metric, "ms"), cores=len(cores.server))


def free_port() -> int:
    """One with two more behind it, as some servers take."""
    for port in range(18_000, 30_000, 10):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for each in range(port, port + 3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", each))
            if port not in _given:
                _given.add(port)
                return port
    raise SystemExit("there is no free port")


_given: set[int] = set()


def _listed(cores: Sequence[int]) -> str:
    return ",".join(map(str, cores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds of one case, a minute in all")
    parser.add_argument("--case", action="append", choices=CASES, help="default: all; repeatable")
    parser.add_argument(
        "--run", type=Path, help="the run to serve as kuairand; trained here if there is none"
    )
    words = "compute in less than fp32 what costs at most so much AUC on held-out samples; 0: all in fp32"
    parser.add_argument("--auc-loss", type=float, default=0.0005, help=words)
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS_BY_NAME), help="none named: all")
    words = "worker processes of our server, of one stream each; as many as it has cores if none are told; 0: it alone"
    parser.add_argument("--processes", type=int, help=words)
    words = (
        "of each process of our server; 0: one of a worker, as many as there are cores of one that is alone"
    )
    parser.add_argument("--streams", type=int, default=0, help=words)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one rate")
    args = parser.parse_args()
    folder = PEERS.parent / "serve"
    folder.mkdir(parents=True, exist_ok=True)
    cores = Cores()
    cases = args.case or (["kuairand 200"] if args.quick else list(CASES))
    processes = len(cores.server) if args.processes is None else args.processes
    streams = args.streams or (1 if processes else len(cores.server))
    seconds, steps, runs, rounds = (1.0, 3, 1, 1) if args.quick else (args.seconds, 6, 3, args.rounds)
    for case in cases:
        name = case.split()[0]
        run = serve_cases.run_of(name, folder, args.run if name == "kuairand" else None)
        bundle = serve_cases.bundle_of(run, name, folder, args.auc_loss)
        subjects = ours(case, run, bundle, folder, streams, processes)
        alone = bare(subjects[1].requests, bundle, cores.server, max(1, rounds), streams, processes)
        about = {"cores": len(cores.server), "processes": processes, "streams": streams}
        for metric, values in alone.items():
            emit(BENCH, "larix engine", case, metric, values, UNITS.get(metric, "ms"), **about)
        if name == "net" and args.peers is not None:
            subjects += peers(args.peers or sorted(PEERS_BY_NAME), run, bundle, folder, cores)
        with contextlib.suppress(KeyboardInterrupt):  # what was measured until then is told
            for _ in range(rounds):
                for subject in list(subjects):
                    try:
                        measure(subject, cores, seconds, steps, runs)
                    except RuntimeError as error:
                        absent(BENCH, subject.name, str(error))
                        subjects.remove(subject)
        report(case, subjects, cores)
        for subject in subjects:
            if subject.name.startswith("larix"):
                for metric, (values, unit) in added(subject.found, alone).items():
                    emit(BENCH, subject.name, case, metric, values, unit, cores=len(cores.server))


if __name__ == "__main__":
    main()
