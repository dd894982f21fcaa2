"""Models served by worker processes behind a front: what a worker is told, what it does, and the front put together.

Knows where things lie; nothing of how requests are dispatched or answered.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from larix.data.log import log_at
from larix.embedding import Levels
from larix.errors import LarixError
from larix.recipes.served import (
    Back,
    Front,
    Listening,
    Place,
    answering,
    examples_of,
    guards_of,
    live,
    serving,
    settled,
)
from larix.recipes.serving import messages_of
from larix.serve.feedback import Feedback
from larix.serve.service import Service
from larix.serve.sessions import SessionSettings
from larix.serve.telemetry import Traces, logging_to, to_collector

if TYPE_CHECKING:
    from larix.serve.grpc.listener import Instead
    from larix.serve.http.call import Route
    from larix.serve.workers import Dispatch
    from larix.serve.workers.worker import Answer

_NICE = 5
_END_S = 10.0  # after draining
_COMMAND = (sys.executable, "-c", "from larix.recipes.apart import main; main()")


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What answers, in words that another process can be told. ``places``: name, bundles and run of each model.

    ``follow``: the log that runs among them are followed in, by ``deltas``, a topic. ``values``: by model, a value model's file.
    ``streams``: cores that score at a time, of one process; 0 are all. ``traces``: whether spans are sent. ``levels``: what
    ``Levels`` is made of, by name.
    """

    places: tuple[tuple[str, str, str | None], ...]
    streams: int = 0
    follow: str | None = None
    deltas: str = "deltas"
    values: Mapping[str, str] = field(default_factory=dict)
    traces: bool = False
    levels: Mapping[str, str] | None = None
    dense_s: float = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """What a worker is told: ``work``, its number, its socket, its cores of all, and what it has of the front's settings."""

    work: Work
    number: int
    socket: str
    own_cores: tuple[int, ...]
    cores: tuple[int, ...]
    timeout_s: float
    drain_s: float
    log_calls: bool
    grpc: bool


def work_of(places: Sequence[Place], **more: Any) -> Work:
    """The work of serving ``places``; ``more``: of ``Work``."""
    told = tuple(
        (each.name, str(each.folder.absolute()), None if each.run is None else str(each.run.absolute()))
        for each in places
    )
    return Work(places=told, **more)


@contextmanager
def back_of(work: Work) -> Iterator[tuple[list[Place], Back]]:
    """The places and what answers for them, with what it reads from open while this is entered."""
    with ExitStack() as stack:
        follow = None
        if work.follow is not None:
            follow = partial(messages_of, log=_entered(stack, work.follow), topic=work.deltas)
        back = Back(
            streams=work.streams,
            follow=follow,
            values={name: Path(path) for name, path in work.values.items()},
            traces=Traces(to_collector()) if work.traces else None,
            levels=None if work.levels is None else Levels(**cast(Any, work.levels)),
            dense_s=work.dense_s,
        )
        places = [
            Place(name=name, folder=Path(folder), run=None if run is None else Path(run))
            for name, folder, run in work.places
        ]
        yield places, back


def _entered(stack: ExitStack, where: str) -> Any:
    return stack.enter_context(log_at(where))


@contextmanager
def listening_apart(
    work: Work, front: Front, processes: int, *, feedback: Feedback | None = None
) -> Iterator[Listening]:
    """As ``listening``, but ``processes`` of them answer, over rows that they hold once; this one reads and dispatches."""
    guards = guards_of(front)
    from larix.serve.workers import Dispatch, Fleet, FleetSettings

    with logging_to(level=front.level), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="larix-workers-")))

        cores = tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else ()
        own = len(cores) >= processes and work.streams == 1

        def given(number: int) -> str:
            told = _Told(
                work=work,
                number=number,
                socket=str(folder / f"{number}.socket"),
                own_cores=cores[number : number + 1] if own else cores,
                cores=cores,
                timeout_s=front.timeout_s,
                drain_s=front.drain_s,
                log_calls=front.log_calls,
                grpc=front.grpc_port is not None,
            )
            return json.dumps(asdict(told))

        settings = FleetSettings(count=processes, stop_s=front.drain_s + 5.0)
        fleet = Fleet(_COMMAND, given, folder, settings)
        models = fleet.start()
        stack.callback(fleet.stop)
        dispatch = Dispatch(fleet.members)
        relayed, stand_in = _Relayed(dispatch), _StandIn(feedback, dispatch)
        server = stack.enter_context(
            answering(cast(Service, stand_in), front, guards, own=False, relayed=relayed)
        )
        stack.callback(fleet.stop)  # before the servers: what is under way is answered through them
        stack.enter_context(settled())
        yield replace(server, models=models)


class _StandIn:
    """What a front has of a service: where feedback goes, whether there is room. The rest workers are asked for."""

    live = True

    def __init__(self, feedback: Feedback | None, dispatch: "Dispatch") -> None:
        self.feedback, self.check_room = feedback, dispatch.check_room
        self.sessions = None
        self.load = self.unload = None


class _Relayed:
    def __init__(self, dispatch: "Dispatch") -> None:
        self._dispatch = dispatch

    def routes(self, own: "Sequence[Route]") -> "list[Route]":
        from larix.serve.workers import over_http

        return over_http.relayed(own, self._dispatch)

    def methods(self) -> "Instead":
        from larix.serve.workers import over_grpc

        return over_grpc.Relay(self._dispatch)


def main() -> None:
    """A worker process: what it is told is the first line on standard input, at whose end it ends."""
    line = sys.stdin.readline()
    if not line:
        return
    said = json.loads(line)
    told = _Told(**said | {"work": Work(**said["work"])})
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    serving_now = threading.Event()

    def until_the_front_ends() -> None:
        sys.stdin.read()
        if not serving_now.is_set():
            os._exit(1)  # it loads, which may take minutes, for nobody
        stopped.set()
        time.sleep(told.drain_s + _END_S)
        os._exit(1)  # whatever it still waits for, nobody waits for it

    threading.Thread(target=until_the_front_ends, name="front", daemon=True).start()
    # A request passes from thread to thread: on one core that takes no waking of another. All threads begun later are there, too.
    if told.own_cores:
        os.sched_setaffinity(0, told.own_cores)
    os.nice(_NICE)  # whoever lets in and refuses goes before who computes
    try:
        with logging_to(level=Front(log_calls=told.log_calls).level), back_of(told.work) as (places, back):
            from larix.serve.http.server import event_loop
            from larix.serve.workers.over_http import session_prefix

            sessions = SessionSettings(prefix=session_prefix(told.number))
            back = replace(
                back, sessions=sessions, shared=Path(told.socket).parent, cores=tuple(told.cores) or None
            )
            with serving(places, back) as service, settled(), asyncio.Runner(loop_factory=event_loop) as loop:
                loop.run(_work(told, service, places, serving_now, stopped))
    except LarixError as error:
        _say({"error": type(error).__name__, "text": str(error)})
        sys.exit(1)


async def _work(
    told: _Told,
    service: Service,
    places: Sequence[Place],
    serving_now: threading.Event,
    stopped: threading.Event,
) -> None:
    from larix.serve.workers import attend

    async with attend(Path(told.socket), _answers(told, service, places)):
        serving_now.set()
        _say({"ready": live(service)})
        await asyncio.to_thread(stopped.wait)
        await asyncio.to_thread(service.drain, told.drain_s)


def _answers(told: _Told, service: Service, places: Sequence[Place]) -> "dict[str, Answer]":
    from larix.serve.http import routes
    from larix.serve.telemetry.metrics import Metrics
    from larix.serve.workers import over_http

    front = Front(timeout_s=told.timeout_s, drain_s=told.drain_s)
    made = routes(service, front.limits, metrics=Metrics(service), examples=examples_of(places))
    found = over_http.answers_of(made)
    if told.grpc:
        from larix.serve.grpc.answers import handlers
        from larix.serve.workers import over_grpc

        found |= over_grpc.answers_of(handlers(service, front.grpc_limits), service.check_room)
    return found


def _say(what: Mapping[str, str]) -> None:
    print(json.dumps(what), flush=True)
