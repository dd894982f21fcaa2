"""What is there for people and tools: the page at `/`, the OpenAPI document, metrics. Knows nothing of what they say."""

from collections.abc import Callable
from functools import cache
from importlib.resources import files

from larix.serve.http.call import Call, Route
from larix.serve.http.limits import Limits
from larix.serve.http.openapi import document
from larix.serve.http.reply import HTML, TEXT, Reply, reply_of

# The page is one file; nothing of it may come from elsewhere, and nobody may frame it.
_POLICY = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
)


class Site:
    """``metrics``: the text that Prometheus reads."""

    def __init__(self, metrics: Callable[[], str], limits: Limits, *, guarded: bool) -> None:
        self._metrics = metrics
        self._document = reply_of(document(limits, guarded=guarded))

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route(method="GET", path="/", handler=self.page, public=True),
            Route(method="GET", path="/openapi.json", handler=self.openapi, public=True),
            Route(method="GET", path="/metrics", handler=self.metrics),
        ]

    async def page(self, call: Call) -> Reply:
        """The page; what it shows it asks for itself, with a token if one is needed."""
        return Reply(200, _page(), HTML, _POLICY)

    async def openapi(self, call: Call) -> Reply:
        """What can be asked for."""
        return self._document

    async def metrics(self, call: Call) -> Reply:
        """What is counted."""
        return Reply(200, self._metrics().encode(), TEXT)


@cache
def _page() -> bytes:
    return files("larix.serve.http").joinpath("page.html").read_bytes()
