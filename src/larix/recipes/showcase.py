"""A replayed run served, its trainer going on: guests are shown pages and act, and their next pages are of what was learned.

Knows how the parts go together; knows nothing of how a page is shown.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from larix.data.log import DiskLog, EventLog
from larix.errors import ConfigError, DataError, LarixError
from larix.recipes.feed import Feed
from larix.recipes.guests import Guests, invite
from larix.recipes.live import Live
from larix.recipes.replay.place import ACTIONS, IMPRESSIONS, Place
from larix.recipes.replay.trainer import train
from larix.recipes.replay.worker import Worker
from larix.recipes.run import live_of, open_feed, open_run, recipe_of
from larix.recipes.served import Back, Front, Listening, listening, newest, place_of
from larix.recipes.served import Place as Served
from larix.recipes.serving import messages_of
from larix.serve.bundle import Bundle
from larix.serve.feedback import Feedback
from larix.serve.http import Action, Example
from larix.serve.signature import Signature

_LOOK_S = 0.1
_BEGIN_S = 120.0  # for a trainer to go on from its version
_LEARN_S = 60.0
_LAST = 4096  # events that are looked at for the time of the last: they are almost in order
_WHO, _WHAT, _DID, _WHEN = "guest", "item", "did", "time_ms"
_ROW = pa.schema([(_WHO, pa.string()), (_WHAT, pa.int64()), (_DID, pa.string()), (_WHEN, pa.int64())])
Page = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """Pages of a guest, as `/v1/rank` answers them: at first, once they had acted, and once that was learned from.

    ``acts``: what they did, by item.
    """

    title: str
    acts: Mapping[Any, str]
    before: Page
    after: Page
    learned: Page


class Showcase:
    """A server, a trainer and guests. ``server``: where it is; ``guests``: who may be asked for."""

    def __init__(self, server: Listening, guests: Guests, sink: "_Sink", trainer: Worker, live: Live) -> None:
        self.server, self.guests = server, guests
        self._sink, self._trainer, self._live = sink, trainer, live
        self._span_ms = round((live.window_s + live.lateness_s + live.settings.span_s) * 1000)

    @property
    def url(self) -> str:
        """Of the page to click through."""
        return self.server.http.url

    def page(self, name: str, count: int = 10) -> Page:
        """Ask for a guest's page, as any client would. LarixError if it is refused."""
        asked = self.guests.ask(name)
        body = {
            "context": asked.context,
            "candidates": asked.candidates,
            "count": count,
            "explain": True,
            "timeout_ms": 10_000,
        }
        return post(self.url, "/v1/rank", body)

    def visits(self, wanted: Sequence[str]) -> list[Visit]:
        """Every guest is shown a page, acts on the third and the last item by one of ``wanted`` each, and comes back.

        LarixError if the server does not show what was learned in time.
        """
        first: dict[str, tuple[Page, dict[Any, str]]] = {}
        for name in self.guests.guests:
            page = self.page(name)
            items = [each["item"] for each in page["items"]]
            acts = dict(zip((items[2 % len(items)], items[-1]), wanted, strict=False))
            self._sink.send(name, items, acts)
            first[name] = page, acts
        after = {name: self.page(name) for name in first}
        self._learn(after)
        return [
            Visit(self.guests.guests[name].title, acts, page, after[name], self.page(name))
            for name, (page, acts) in first.items()
        ]

    def stay(self) -> None:
        """Go on until Ctrl-C: KeyboardInterrupt. LarixError if the trainer or the server has ended."""
        while True:
            self.look()
            sleep(_LOOK_S)

    def look(self) -> None:
        """See to the trainer; LarixError if it or the server has ended."""
        self._trainer.look()
        if not self.server.http.running:
            raise LarixError("the HTTP server has ended by itself; its log says why")

    def _learn(self, shown: Mapping[str, Page]) -> None:
        """Let time pass until a sample of what was lived is ready, and wait for a model that has learned from it."""
        told = max(page["stamp"]["event_ms"] for page in shown.values())
        for _ in range(2):  # what comes later shows that nothing more will come of what was before
            self.guests.wait(self._span_ms)
            for name, page in shown.items():
                self._sink.send(name, [each["item"] for each in page["items"]], {})
        until = monotonic() + _LEARN_S
        name = next(iter(shown))
        while self.page(name)["stamp"]["event_ms"] <= told:
            self.look()
            if monotonic() > until:
                raise LarixError(f"nothing was learned of the guests within {_LEARN_S:.0f} s")
            sleep(_LOOK_S)


@contextmanager
def showcase(
    run: Path, *, at: Path | None = None, front: Front | None = None, seed: int = 0
) -> Iterator[Showcase]:
    """Serve the run in ``run`` and what its replay has learned, and let its trainer go on, while it is entered.

    ``at``: the replay's folder. ConfigError if there was no replay, or the recipe does not say what guests can do.
    """
    place = Place.of(run) if at is None else Place(at)
    if not place.there:
        raise ConfigError(f"'{run}' was not replayed; begin with: larix replay {run}")
    told = place.told()
    if told.partitions > 1:
        raise ConfigError(
            f"'{place.folder}' was replayed over {told.partitions} partitions: time goes on as far as in the one that has come "
            "least far, and a few guests do not act in all of them; replay over one"
        )
    opened, config = open_run(run)
    live = live_of(recipe_of(config))
    if live.since is None or not live.acts:
        raise ConfigError(
            "the recipe does not say what can be done with an item; give its Live since and acts"
        )
    said = Console(quiet=True)  # whoever trained and replayed the run has been told which samples there are
    served = place_of(str(run), said)
    with ExitStack() as stack:
        log = stack.enter_context(DiskLog(place.log))
        feed = open_feed(run, said, data=told.source)
        guests = guests_of(feed, live, _signature(served), opened.sample.group, seed)
        guests.wait(max(0, _last_ms(log, live.unjoin(feed.train.schema).time) - guests.now_ms))
        guests.wait(round(live.window_s * 1000))  # what comes to a log late is not taken
        sink = _Sink(log, guests, live)
        feedback = stack.enter_context(Feedback(lambda rows, _: sink.append(rows), _ROW, time=_WHEN))
        trainer = Worker("trainer", train, place.folder)
        stack.callback(trainer.close)
        back = Back(
            follow=partial(messages_of, log=log),
            feedback=feedback,
            examples=_People(served.name, guests, live),
            dense_s=2.0,
        )
        online = Served(name=served.name, folder=served.folder, run=place.online)
        server = stack.enter_context(listening([online], front or Front(port=0), back))
        until = monotonic() + _BEGIN_S
        while not trainer.ready:
            trainer.look()
            if monotonic() > until:
                raise LarixError(f"the trainer did not go on from its version within {_BEGIN_S:.0f} s")
            sleep(_LOOK_S)
        yield Showcase(server, guests, sink, trainer, live)


def guests_of(feed: Feed, live: Live, signature: Signature, group: str | None, seed: int) -> Guests:
    """Guests out of the feed's last samples. ConfigError if nothing tells users apart."""
    whole = feed.whole or feed.test
    if group is None or live.since is None:
        raise ConfigError("the sample has no group, so that nobody can be told from anybody else")
    unjoin = live.unjoin(whole.schema)
    people, now_ms = invite(whole, group=group, item=signature.item, time=unjoin.time, seed=seed)
    return Guests(
        people,
        context=signature.context.names,
        items=signature.candidates.names,
        item=signature.item,
        unjoin=unjoin,
        since=live.since,
        schema=whole.schema,
        now_ms=now_ms,
    )


def post(url: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a server at ``url`` answers, JSON. LarixError with what it says if it refuses."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        told: dict[str, Any] = json.loads(answer.read())
    except OSError as error:
        raise LarixError(f"the server at {url} does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise LarixError(f"{path} was refused with {answer.status}: {told.get('error')}")
    return told


def _last_ms(log: EventLog, time: str) -> int:
    """The latest of the last events in the log."""
    found = 0
    for topic in (IMPRESSIONS, ACTIONS):
        end = log.newest(topic)
        start = replace(end, next={at: max(0, offset - _LAST) for at, offset in end.next.items()})
        with log.consumer(topic, start=start, skip_lost=True) as consumer:
            for each in consumer.drain():
                found = max(found, int(pc.max(each.rows[time]).as_py() or 0))
    return found


class _Sink:
    """What guests live through, into the log."""

    def __init__(self, log: EventLog, guests: Guests, live: Live) -> None:
        self._log, self._guests, self._live = log, guests, live

    def send(self, name: str, shown: Sequence[Any], acts: Mapping[Any, str]) -> None:
        """Log impressions and actions; durable when it returns."""
        labels = {item: self._live.acts[acts[item]] if item in acts else self._live.ignored for item in shown}
        for topic, rows in zip((IMPRESSIONS, ACTIONS), self._guests.live(name, shown, labels), strict=True):
            if len(rows):
                self._log.send(topic, rows)
        self._log.flush()

    def append(self, rows: pa.RecordBatch) -> None:
        """What `Feedback` gives: one item and one act a row. DataError for a guest, an item or an act that there is not."""
        told = rows.to_pylist()
        for row in told:  # all of them or none
            self._guests.check(row[_WHO], row[_WHAT])
            if row[_DID] not in self._live.acts:
                raise DataError(f"nobody can {row[_DID]!r} an item; one can {sorted(self._live.acts)}")
        for row in told:
            self.send(row[_WHO], [row[_WHAT]], {row[_WHAT]: row[_DID]})
            self._guests.wait(round((self._live.window_s + self._live.lateness_s) * 1000))


class _People:
    """Guests as the page in a browser chooses among them."""

    def __init__(self, model: str, guests: Guests, live: Live) -> None:
        self._model, self._guests, self._live = model, guests, live

    def people(self) -> Sequence[tuple[str, str]]:
        return [(name, guest.title) for name, guest in self._guests.guests.items()]

    def example(self, name: str) -> Example | None:
        guest = self._guests.guests.get(name)
        if guest is None:
            return None
        asked = self._guests.ask(name)
        return Example(
            name=name,
            title=guest.title,
            model=self._model,
            user={},
            context=asked.context,
            candidates=asked.candidates,
            actions=[
                Action(title=act, row={_WHO: name, _DID: act}, item=_WHAT, time_ms=_WHEN)
                for act in self._live.acts
            ],
        )


def _signature(served: Served) -> Signature:
    return Bundle.open(newest(served.folder)).signature
