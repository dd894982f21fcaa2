"""`/v1/examples`: people to ask for a page for, so that a page in a browser has something to show. Knows nothing of the page."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from larix.serve.http.call import Call, Route
from larix.serve.http.reply import Reply, reply_of
from larix.serve.refusal import Refusal, Why


class Action(msgspec.Struct, kw_only=True, frozen=True):
    """What can be done with an item. ``row``: of `/v1/feedback`; ``item`` and ``time_ms`` name the columns to be filled in."""

    title: str
    row: dict[str, Any]
    item: str
    time_ms: str


class Example(msgspec.Struct, kw_only=True, frozen=True):
    """Somebody as `/v1/rank` takes them, as of now. ``names``: what items are called, by the item as text."""

    name: str
    title: str
    user: dict[str, Any]
    context: dict[str, Any]
    candidates: dict[str, list[Any]] | list[dict[str, Any]]
    model: str = ""
    actions: list[Action] = []
    names: dict[str, str] = {}


class Examples(Protocol):
    """People to choose from. Both may be called by any thread."""

    def people(self) -> Sequence[tuple[str, str]]:
        """Name and title of each."""
        ...

    def example(self, name: str) -> Example | None:
        """One of them as they are now, None if there is no such name."""
        ...


class ExampleCalls:
    """Answers `/v1/examples` by ``examples``."""

    def __init__(self, examples: Examples | None) -> None:
        self._examples = examples

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route(method="GET", path="/v1/examples", handler=self.people),
            Route(method="GET", path="/v1/examples/{}", handler=self.example),
        ]

    async def people(self, call: Call) -> Reply:
        """Who there is."""
        people = [] if self._examples is None else self._examples.people()
        return reply_of([{"name": name, "title": title} for name, title in people])

    async def example(self, call: Call) -> Reply:
        """One of them, as they are now."""
        found = None if self._examples is None else self._examples.example(call.names[0])
        if found is None:
            raise Refusal(Why.UNKNOWN, f"there is no example '{call.names[0]:.80}'; /v1/examples lists them")
        return reply_of(found)
