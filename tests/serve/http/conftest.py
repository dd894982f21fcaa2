import pytest
from fake_service import FakeService
from wire import ask

from larix.serve.http import App, Door, HttpServer, Limits, Tokens, routes


@pytest.fixture
def service():
    made = FakeService()
    yield made
    made.close()


@pytest.fixture
def serving(service):
    """Start a server of the fake service; keywords go to Limits, or are tokens, cert and key, and so on."""
    servers = []

    def start(
        *, tokens=None, done=lambda _: None, examples=None, metrics=lambda: "up 1\n", files=None, **limits
    ):
        held = Limits(**limits)
        known = None if tokens is None else Tokens(tokens)
        made = routes(service, held, guarded=known is not None, metrics=metrics, examples=examples)
        app = App(made, limits=held, door=Door(known), done=done)
        server = HttpServer(app, limits=held, guarded=known is not None, **(files or {}))
        server.start()
        servers.append(server)
        server.app = app
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(serving):
    return serving()


@pytest.fixture
def talk(server):
    """Ask the server: method, path, a document or bytes, headers; gives status, headers, document and body."""
    return lambda *words, **more: ask(server, *words, **more)
