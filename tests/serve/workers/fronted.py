"""Services whose answers are known as workers of this process, each in a loop of its own, behind a front over HTTP or gRPC."""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from fake_service import FakeFeedback, FakeService

from larix.serve.grpc import GrpcLimits, GrpcServer
from larix.serve.grpc.answers import handlers
from larix.serve.http import App, Door, HttpServer, Limits, Tokens, routes
from larix.serve.telemetry.metrics import Metrics
from larix.serve.workers import over_grpc, over_http
from larix.serve.workers.dispatch import Dispatch, Member
from larix.serve.workers.worker import attend


class Front:
    """What a front has of a service."""

    live = True

    def __init__(self, dispatch):
        self.feedback, self.check_room = FakeFeedback(), dispatch.check_room
        self.sessions = self.load = self.unload = None


class Worker(FakeService):
    """A FakeService whose sessions tell whose they are."""

    def __init__(self, number):
        super().__init__()
        plain = self.sessions.open

        def named(**asked):
            opened = plain(**asked).result()
            told = replace(opened, id=f"{number}.{opened.id}")
            self.sessions.open_ones[told.id] = self.sessions.open_ones.pop(opened.id)
            future = Future()
            future.set_result(told)
            return future

        self.sessions.open = named


@contextmanager
def attending(path, answers):
    """A worker in a thread."""
    up, over = threading.Event(), threading.Event()

    async def work():
        async with attend(path, answers):
            up.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    up.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join(10)


@contextmanager
def fronted(folder, count=3, *, tokens=None):
    """A server over HTTP; ``services`` are its workers, ``front`` is its own."""
    limits, known = Limits(), None if tokens is None else Tokens(tokens)
    with ExitStack() as stack:
        services, members = [], []
        for at in range(count):
            service = Worker(at)
            stack.callback(service.close)
            services.append(service)
            members.append(Member(folder / f"{at}.socket", up=True))
            made = routes(service, limits, metrics=Metrics(service))
            stack.enter_context(attending(members[-1].path, over_http.answers_of(made)))
        dispatch = Dispatch(members)
        front = Front(dispatch)
        own = routes(front, limits, guarded=known is not None, metrics=Metrics(None, lambda: app.counts))
        app = App(over_http.relayed(own, dispatch), limits=limits, door=Door(known))
        server = HttpServer(app, limits=limits)
        server.start()
        stack.callback(server.stop)
        server.services, server.front, server.dispatch = services, front, dispatch
        yield server


@contextmanager
def fronted_grpc(folder, services):
    """A server over gRPC of these workers."""
    limits = GrpcLimits(stop_s=0.5)
    with ExitStack() as stack:
        members = [Member(folder / f"{at}.socket", up=True) for at in range(len(services))]
        for service, member in zip(services, members, strict=True):
            answers = over_grpc.answers_of(handlers(service, limits), service.check_room)
            answers |= over_http.answers_of(routes(service, Limits()))
            stack.enter_context(attending(member.path, answers))
        dispatch = Dispatch(members)
        server = GrpcServer(Front(dispatch), limits=limits, instead=over_grpc.Relay(dispatch))
        server.start()
        stack.callback(server.stop)
        yield server
