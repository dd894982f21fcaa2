"""All that can be asked for over HTTP, put together. Knows nothing of any of it."""

from collections.abc import Callable

from larix.serve.http.call import Route
from larix.serve.http.examples import ExampleCalls, Examples
from larix.serve.http.feedback import FeedbackCalls
from larix.serve.http.infer import Inference
from larix.serve.http.limits import Limits
from larix.serve.http.ranking import Ranking
from larix.serve.http.repository import Repository
from larix.serve.http.sessions import SessionCalls
from larix.serve.http.site import Site
from larix.serve.service import Service


def routes(
    service: Service,
    limits: Limits,
    *,
    guarded: bool = False,
    metrics: Callable[[], str] = lambda: "",
    examples: Examples | None = None,
) -> list[Route]:
    """The routes of a server.

    ``guarded``: whether calls need a token. ``metrics``: the text that Prometheus reads. ``examples``: for the page at `/`.
    """
    return [
        *Ranking(service, limits).routes(),
        *SessionCalls(service, limits).routes(),
        *FeedbackCalls(service, limits).routes(),
        *Inference(service, limits).routes(),
        *Repository(service).routes(),
        *ExampleCalls(examples).routes(),
        *Site(metrics, limits, guarded=guarded).routes(),
    ]
