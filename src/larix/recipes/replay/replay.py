"""A replay carried out: events sent, a trainer and a follower in processes of their own, what came of it in the report.

Knows nothing of how it is shown, nor of how events become samples or rows.
"""

import os
import shlex
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console

from larix.data import Files
from larix.data.log import DiskLog
from larix.data.unjoin import Unjoin
from larix.errors import ConfigError
from larix.recipes.feed import Feed, references
from larix.recipes.live import Live
from larix.recipes.replay.account import Account, Standing
from larix.recipes.replay.days import Measured
from larix.recipes.replay.feeder import Feeder
from larix.recipes.replay.follower import follow
from larix.recipes.replay.place import ACTIONS, IMPRESSIONS, Place, Told
from larix.recipes.replay.trainer import train
from larix.recipes.replay.worker import END, STOP, Worker
from larix.recipes.run import live_of, open_feed, open_run, recipe_of
from larix.train import Run, write_report
from larix.train.interrupt import Interrupt

_LOOK_S = 0.05
_SHOW_S = 0.25
_STOP_S = 120.0  # for the trainer to save a version
_WINDOW_MS = 6 * 3_600_000  # of the curves in the report

Watch = Callable[[Standing], None]


def replay(
    folder: Path,
    console: Console,
    *,
    at: Path | None = None,
    data: Path | None = None,
    first: str | None = None,
    last: str | None = None,
    speed: float | None = 3600.0,
    partitions: int | None = None,
    resume: bool = False,
    watch: Watch = lambda standing: None,
) -> dict[str, Any]:
    """Replay the days after those that the run in ``folder`` was trained on; return what its report says of it.

    Args:
        folder: the run, made by a recipe with an online side. console: told which data it is.
        at: the replay's folder; ``replay/`` in the run's unless told otherwise.
        data, first, last: the recipe's data, and the days to replay: to the end of the run's test unless told otherwise.
            What is reported counts from the run's first test day on; days before it warm the model up.
        speed: event time over wall clock; None: as fast as the trainer takes it.
        partitions: of the topics of events, where the recipe says what they are keyed by; 1 unless told otherwise.
        resume: go on with the replay in its folder, with what it was told, but for the speed.
        watch: told a few times a second how it stands.

    Raises:
        ConfigError: the run, the days or the folder do not fit. LarixError: a part failed, with what it said.
        KeyboardInterrupt: Ctrl-C was pressed; everything was left such that ``resume`` goes on.
    """
    place = Place.of(folder) if at is None else Place(at)
    frozen, config = open_run(folder)
    live = live_of(recipe_of(config))
    if resume:
        if any(each is not None for each in (data, first, last, partitions)):
            raise ConfigError(
                f"data, days and partitions of the replay in '{place.folder}' are as it was begun; leave them out, or begin "
                "another elsewhere"
            )
        told = replace(place.told(), speed=speed)
        feed = open_feed(folder, console, data=told.source)
        place.change(told)
    else:
        feed = open_feed(folder, console, data=data)
        told = _told(frozen, live, feed, first, last, speed, partitions or 1)
        told = replace(told, data=None if data is None else str(data.resolve()))
        place.begin(told)
    whole = _whole(feed)
    chosen = whole.between(told.first, told.last)
    console.print(
        f"Replay: {chosen.rows:,} impressions of {told.first} to {told.last}, {_paced(speed)}",
        highlight=False,
    )
    unjoin = live.unjoin(chosen.schema)
    known = _items(whole.between(None, told.trained_to), live.item)
    with DiskLog(place.log) as log:
        account = Account(
            log,
            frozen.sample.tasks,
            lateness_ms=round(live.lateness_s * 1000),
            measured=Measured(whole, told),
            window_ms=_WINDOW_MS,
            new=lambda items: _unknown(items, known),
        )
        running = _Running(place, log, chosen, unjoin, told, account, watch)
        try:
            running.run()
        except KeyboardInterrupt:
            _report(frozen, told, live, feed, account, "interrupted")
            raise KeyboardInterrupt(_way_on(folder, at)) from None
        finally:
            running.close()
        found = _report(frozen, told, live, feed, account, "finished")
        account.close()
    return found


class _Running:
    """The feeder's thread and the parts' processes, until all that there is was learned and answered."""

    def __init__(
        self,
        place: Place,
        log: DiskLog,
        samples: Files,
        unjoin: Unjoin,
        told: Told,
        account: Account,
        watch: Watch,
    ) -> None:
        self._account, self._watch = account, watch
        self._feeder = Feeder(
            log,
            unjoin.slices(samples, every_ms=told.slice_ms),
            speed=told.speed,
            ahead=told.ahead,
            lag=self._lag,
            partitions=told.partitions,
            keyed=unjoin.keyed,
        )
        self._stop = threading.Event()
        self._fed: bool | Exception | None = None
        self._ending = False
        self._lag_at = (0, 0)  # what was said last, and how many events were sent by then
        self._trainer = Worker("trainer", train, place.folder)
        self._follower = Worker("follower", follow, place.folder)

    def run(self) -> None:
        thread = threading.Thread(target=self._feed, name="feeder", daemon=True)
        shown = 0.0
        with Interrupt() as interrupt:
            while not self._follower.done:
                self._look()
                if thread.ident is None and self._trainer.ready and self._follower.ready:
                    thread.start()
                if interrupt.wanted:
                    self._halt(thread)
                    raise KeyboardInterrupt
                if monotonic() - shown >= _SHOW_S:
                    shown = monotonic()
                    self._watch(self._account.show())
                self._stop.wait(_LOOK_S)
        self._watch(self._account.show())

    def close(self) -> None:
        """End what still runs."""
        self._stop.set()
        for worker in (self._trainer, self._follower):
            worker.close()

    def _feed(self) -> None:
        try:
            self._fed = self._feeder.run(self._stop)
        except Exception as error:  # told by the main thread
            self._fed = error

    def _lag(self) -> int:
        said, sent = self._lag_at
        return said + self._feeder.sent - sent

    def _look(self) -> None:
        sent = self._feeder.sent
        self._account.read()
        standing = self._account.standing
        if self._account.lag is not None:
            self._lag_at = (self._account.lag, sent)
        for worker in (self._trainer, self._follower):
            worker.look()
        standing.restarts = self._trainer.restarts + self._follower.restarts
        if isinstance(self._fed, Exception):
            raise self._fed
        if self._fed and not standing.fed:
            standing.fed = True
            self._trainer.tell(END)
        if self._trainer.done and not self._ending:
            self._ending = True
            self._follower.tell(END)

    def _halt(self, thread: threading.Thread) -> None:
        """Stop sending, let the trainer save a version."""
        self._stop.set()
        if thread.ident is not None:
            thread.join()
        self._trainer.tell(STOP)
        until = monotonic() + _STOP_S
        while not self._trainer.done and monotonic() < until:
            self._trainer.look()
            threading.Event().wait(_LOOK_S)
        self._account.read()


def _told(
    run: Run,
    live: Live,
    feed: Feed,
    first: str | None,
    last: str | None,
    speed: float | None,
    partitions: int,
) -> Told:
    card = feed.about.get("data", {})
    if not all("days" in card.get(part, {}) for part in ("train", "test")):
        raise ConfigError(f"the feed of '{run.folder}' does not say which days it was trained and tested on")
    trained, (measured, end) = card["train"]["days"][1], card["test"]["days"]
    first = first or (date.fromisoformat(trained) + timedelta(days=1)).isoformat()
    unjoin = live.unjoin(_whole(feed).schema)
    missing = sorted({*unjoin.identity, unjoin.time, live.item} - set(run.sample.columns))
    if missing:
        raise ConfigError(f"the run's sample reads no {missing}, by which a replay knows its samples again")
    if partitions > 1 and unjoin.keyed is None:
        raise ConfigError(
            f"{partitions} partitions are asked for, but the recipe does not say what its events are keyed by; give its "
            "Unjoin a keyed=, such as the user's column"
        )
    spec = unjoin.join(IMPRESSIONS, ACTIONS, window_s=live.window_s, lateness_s=live.lateness_s)
    return Told(
        run=str(run.folder.resolve()),
        join=spec.to_json(),
        identity=list(unjoin.identity),
        trained_to=trained,
        first=first,
        last=last or end,
        measured=max(first, min(measured, last or end)),
        speed=speed,
        threads=max(1, (os.cpu_count() or 2) // 2),  # the others are for who sends, follows and shows
        partitions=partitions,
    )


def _whole(feed: Feed) -> Files:
    if feed.whole is None:
        raise ConfigError(
            "the recipe's feed does not give all its samples; set Feed.whole to replay those after training"
        )
    return feed.whole


def _report(frozen: Run, told: Told, live: Live, feed: Feed, account: Account, state: str) -> dict[str, Any]:
    found = {
        "state": state,
        "trained_to": told.trained_to,
        "days": [told.first, told.last],
        "measured": [told.measured, told.last],
        "speed": told.speed,
        "window_s": live.window_s,
        "lateness_s": live.lateness_s,
        "restarts": account.standing.restarts,
        "references": references(feed.about.get("data", {}), told.measured, told.last),
        **account.finish(),
    }
    frozen.record(online=found)
    write_report(frozen.folder)
    return found


def _items(before: Files, item: str) -> NDArray[Any]:
    with before.stream(columns=[item], batch_size=1 << 16) as stream:
        found = [batch[item].unique() for batch in stream]
    return pa.chunked_array(found).unique().to_numpy(zero_copy_only=False) if found else np.zeros(0)


def _unknown(items: pa.Array, known: NDArray[Any]) -> NDArray[np.bool_]:
    return ~np.isin(items.to_numpy(zero_copy_only=False), known)


def _paced(speed: float | None) -> str:
    return (
        "as fast as they are learned from" if speed is None else f"{speed:g} times as fast as they happened"
    )


def _way_on(folder: Path, at: Path | None) -> str:
    words = ["larix", "replay", str(folder), *(["--at", str(at)] if at else []), "--resume"]
    return f"stopped, and saved; go on by: {shlex.join(words)}"
