"""Runs and bundles served over HTTP and gRPC: which model is where, what it follows, and the server put together.

Knows where things lie; knows nothing of how requests are answered.
"""

import gc
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from larix.embedding import Levels
from larix.errors import ConfigError, LarixError, StorageError
from larix.recipes.bundled import Export, export_run
from larix.serve.bundle import Bundle
from larix.serve.engine import EngineSettings
from larix.serve.feedback import Feedback
from larix.serve.grpc import GrpcLimits, GrpcServer
from larix.serve.models import Loading, Repository, Source
from larix.serve.models.repository import bundles
from larix.serve.models.turn import Turn
from larix.serve.service import Service
from larix.serve.serving import Serving
from larix.serve.sessions import SessionSettings
from larix.serve.telemetry import Traces, access, logging_to
from larix.train.version import versions

if TYPE_CHECKING:
    from larix.serve.grpc.listener import Instead
    from larix.serve.http import Examples, HttpServer, Limits, Tokens
    from larix.serve.http.call import Route

_MANIFEST = "manifest.json"
BUNDLES = "bundles"  # in a run's folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A model by ``name`` and the folder of its bundle or bundles. ``run``: the run that it is of, if that is known."""

    name: str
    folder: Path
    run: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """Where and for whom a server listens. ``grpc_port``: None has no gRPC. ``tokens``: a file of them, one a line.

    ``timeout_s``: to answer, if the client says nothing. ``log_calls``: each is a line of the log, as faults always are.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    tokens: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    timeout_s: float = 1.0
    drain_s: float = 10.0
    log_calls: bool = False

    @property
    def limits(self) -> "Limits":
        """Of HTTP."""
        from larix.serve.http import Limits

        return Limits(timeout_s=self.timeout_s, stop_s=self.drain_s)

    @property
    def grpc_limits(self) -> GrpcLimits:
        """Of gRPC."""
        return GrpcLimits(timeout_s=self.timeout_s, stop_s=self.drain_s)

    @property
    def level(self) -> int:
        """What is logged."""
        return logging.INFO if self.log_calls else logging.WARNING


@dataclass(frozen=True, kw_only=True, slots=True)
class Back:
    """What answers. ``streams``: cores that score at a time; 0 are all. ``follow``: what makes readers of a run's messages.

    ``levels``: which rows of each model are held whole in memory, all if None. ``dense_s``: a followed run's network is made
    anew at most so often, in seconds. ``shared``: a folder of all processes that
    serve the same, where one at a time loads and compiles. ``cores``: that networks are compiled on, see ``Loading``.
    """

    streams: int = 0
    follow: Callable[[Path], Callable[[], Source]] | None = None
    feedback: Feedback | None = None
    examples: "Examples | None" = None
    values: dict[str, Path] = field(default_factory=dict)
    traces: Traces | None = None
    levels: Levels | None = None
    dense_s: float = 30.0
    sessions: SessionSettings | None = None
    shared: Path | None = None
    cores: tuple[int, ...] | None = None


class Relayed(Protocol):
    """Who answers in a service's place."""

    def routes(self, own: "Sequence[Route]") -> "list[Route]":
        """Over HTTP."""
        ...

    def methods(self) -> "Instead":
        """Over gRPC."""
        ...


def place_of(word: str, console: Console) -> Place:
    """The place that ``NAME=PATH`` or ``PATH`` means: a bundle, a folder of bundles, or a run, which is exported if need be.

    ConfigError if it is none of them.
    """
    name, _, rest = word.rpartition("=")
    path = Path(rest)
    if (path / _MANIFEST).is_file():
        return Place(name=name or _name_in(path), folder=path)
    if (path / "config.json").is_file():
        return Place(name=name or path.absolute().name, folder=_exported(path, name, console), run=path)
    if path.is_dir() and any((each / _MANIFEST).is_file() for each in path.iterdir()):
        return Place(name=name or path.absolute().name, folder=path)
    raise ConfigError(
        f"'{path}' is no bundle, no folder of bundles and no run; larix export makes a bundle of a run"
    )


def serving(places: Sequence[Place], back: Back) -> Serving:
    """The service of the models in ``places``, all of them loaded. ConfigError or StorageError if one cannot be."""
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        raise ConfigError(f"several models have one name: {', '.join(names)}; give them others: NAME=PATH")
    follow = {}
    if back.follow is not None:
        for place in places:
            if place.run is None:
                raise ConfigError(
                    f"model '{place.name}' is a bundle; to follow a run, give the run's folder instead"
                )
            follow[place.name] = back.follow(place.run)
    settings = (
        EngineSettings()
        if not back.streams
        else EngineSettings(workers=back.streams, sparse=back.streams, dense=back.streams)
    )
    turn = None if back.shared is None else Turn(back.shared / "turn")
    loading = Loading(
        streams=settings.dense,
        follow=follow,
        levels={} if back.levels is None else dict.fromkeys(names, back.levels),
        values=back.values,
        dense_s=back.dense_s,
        scratch=back.shared,
        turn=turn,
        cores=back.cores,
    )
    repository = Repository({place.name: place.folder for place in places}, loading, turn=turn)
    try:
        for name in names:
            repository.load(name)
    except BaseException:
        repository.close()
        raise
    feedback = back.feedback
    return Serving(
        repository,
        engine=settings,
        sessions=back.sessions,
        feedback=feedback,
        traces=back.traces,
        gauges=dict if feedback is None else lambda: feedback.stats.gauges,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Listening:
    """A server that answers. ``told``: where it is, by protocol. ``models``: what it serves, in words."""

    http: "HttpServer"
    told: tuple[str, ...]
    models: str


@contextmanager
def listening(places: Sequence[Place], front: Front, back: Back) -> Iterator[Listening]:
    """A server of the models in ``places`` while it is entered; then it answers what is under way, and ends.

    ConfigError for settings that cannot work, StorageError for a bundle that is damaged.
    """
    guards = guards_of(front)
    with logging_to(level=front.level), serving(places, back) as service, ExitStack() as servers:
        examples = back.examples or examples_of(places)
        made = servers.enter_context(answering(service, front, guards, examples=examples))
        servers.callback(service.drain, front.drain_s)
        servers.enter_context(settled())
        yield Listening(made.http, made.told, live(service))


def guards_of(front: Front) -> "Tokens | None":
    """The tokens that let somebody in; None lets in everybody. ConfigError if they cannot be read, or HTTP is not there."""
    try:
        from larix.serve.http import Tokens
    except ImportError as error:
        raise ConfigError(f"serving over HTTP needs {error.name}; pip install 'larix[serve]'") from error
    return None if front.tokens is None else Tokens.read(front.tokens)


@contextmanager
def answering(
    service: Service,
    front: Front,
    tokens: "Tokens | None",
    *,
    examples: "Examples | None" = None,
    own: bool = True,
    relayed: "Relayed | None" = None,
) -> Iterator[Listening]:
    """``service`` over HTTP and gRPC while this is entered. ``own``: whether its numbers are told as metrics.

    ``relayed``: who answers in its place. ConfigError for settings that cannot work.
    """
    from larix.serve.http import App, Door, HttpServer, routes
    from larix.serve.telemetry.metrics import Metrics

    guarded = tokens is not None
    metrics = Metrics(service if own else None, lambda: app.counts)
    made = routes(service, front.limits, guarded=guarded, metrics=metrics, examples=examples)
    app = App(
        made if relayed is None else relayed.routes(made),
        limits=front.limits,
        door=Door(tokens),
        done=access,
    )
    with ExitStack() as servers:
        http = HttpServer(
            app,
            limits=front.limits,
            host=front.host,
            port=front.port,
            guarded=guarded,
            cert=front.cert,
            key=front.key,
        )
        http.start()
        servers.callback(http.stop)
        told = [http.url]
        if front.grpc_port is not None:
            grpc = GrpcServer(
                service,
                limits=front.grpc_limits,
                host=front.host,
                port=front.grpc_port,
                bearer=None if tokens is None else tokens.bearer,
                cert=front.cert,
                key=front.key,
                instead=None if relayed is None else relayed.methods(),
            )
            grpc.start()
            servers.callback(grpc.stop)
            told.append(f"gRPC at {grpc.address}")
        yield Listening(http, tuple(told), "")


def examples_of(places: Sequence[Place]) -> "Examples":
    """People of the first place's logged samples, for the page to show."""
    from larix.serve.http.logged import LoggedPeople

    first = Bundle.open(newest(places[0].folder))
    return LoggedPeople(places[0].name, first.signature, first.warm)


def live(service: Service) -> str:
    """Which version of each model answers, in words."""
    return ", ".join(f"{each.name} {each.live}" for each in service.models())


@contextmanager
def settled() -> Iterator[None]:
    """What is in memory now is there to stay: Python's collector does not go through it again and again.

    A request is some thousand small objects, and each few of them had all the libraries' looked through, under the lock that
    all threads share.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def serve(server: Listening, console: Console, stopped: threading.Event) -> None:
    """Say where it is and wait. LarixError if it ends by itself."""
    text = f"Serving {server.models}: {', '.join(server.told)}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    while not stopped.wait(0.5):
        if not server.http.running:
            raise LarixError("the HTTP server has ended by itself; its log says why")
    console.print("Stopping: answering what is under way", markup=False, highlight=False)


def newest(folder: Path) -> Path:
    """The bundle in a place that answers first. StorageError if there is none."""
    found = bundles(folder)
    if not found:
        raise StorageError(f"there is no bundle in '{folder}'; larix export makes one of a run")
    return found[0].path


def _name_in(bundle: Path) -> str:
    try:
        return str(json.loads((bundle / _MANIFEST).read_text(encoding="utf-8"))["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"'{bundle}' is no bundle, or is damaged: {error!r}; export it again") from error


def _exported(run: Path, name: str, console: Console) -> Path:
    """The folder of a run's bundles, with one of its newest version in it."""
    found = versions(run / "versions")
    if not found:
        raise ConfigError(f"run '{run}' has no version yet; let it train first")
    target = run / BUNDLES / found[-1].name
    if not (target / _MANIFEST).is_file():
        export_run(run, target, console, Export(model=name))
    return target.parent
