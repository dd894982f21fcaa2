"""What an online run does between batches, by the wall clock: publish rows and dense weights, write and announce versions.

What fails here is an alarm and is tried again; training goes on. Knows nothing of samples or of how batches are taken.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from torch import nn

from larix.embedding import Tables
from larix.errors import StorageError
from larix.train import version
from larix.train.online.publisher import Publisher
from larix.train.online.settings import OnlineSettings
from larix.train.online.versions import State, Versions, Written
from larix.train.online.watcher import Alarm, Saved, Watcher

Stage = Callable[[Path], Mapping[str, bytes]]


class Upkeep:
    """Keeps followers and the folder of versions at ``state``, which is asked for at each turn.

    ``stage``: puts a version's folders where it is told and returns its files; see `Versions.begin`. ``fenced``: whether the
    topic says already that the publisher's history has begun; nothing else is published before.
    """

    def __init__(
        self,
        tables: Tables,
        versions: Versions,
        publisher: Publisher | None,
        settings: OnlineSettings,
        *,
        ranker: nn.Module,
        state: Callable[[], State],
        stage: Stage,
        fenced: bool,
        watcher: Watcher,
    ) -> None:
        self._tables, self._versions, self._publisher = tables, versions, publisher
        self._ranker, self._state, self._stage, self._watcher = ranker, state, stage, watcher
        self._fenced = fenced
        self._unsaid: tuple[Written, int] | None = None  # a version that could not be announced
        self._after = -1  # where what leads on from the version that is being written begins in the topic
        self._every = {
            self._rows: settings.publish_every_s,
            self._dense: settings.dense_every_s,
            self._save: settings.save_every_s,
        }
        now = monotonic()
        self._due = {what: now + every for what, every in self._every.items()}

    def turn(self) -> None:
        """Do what is due."""
        self._take_over(wait=False)
        now = monotonic()
        for what, due in self._due.items():
            if now >= due:
                what()
                self._due[what] = monotonic() + self._every[what]

    def first(self) -> None:
        """Write and announce the version that a history begins with. StorageError if it cannot be written."""
        self._begin_version()
        written = self._versions.done(wait=True)
        assert written is not None
        self._saved(written)

    def last(self) -> None:
        """Publish and save what there is. StorageError if that version cannot be written."""
        self._take_over(wait=True)
        self._rows()
        self._dense()
        if not version.path_of(self._versions.folder, self._state().step).exists():
            self.first()

    def announce(self, written: Written, after: int = -1) -> None:
        """Tell followers of a version; if that fails, again at the next turn. ``after``: see ``Message``."""
        if self._publisher is None or written.state.held:
            return
        try:
            published = self._publisher.version(written, after=after, fence=not self._fenced)
        except StorageError as error:
            self._unsaid = written, after
            self._alarm(f"version '{written.path.name}' is not announced: {error}")
            return
        self._fenced, self._unsaid = True, None
        self._watcher.published(published)

    def _rows(self) -> None:
        if self._unsaid is not None:
            self.announce(*self._unsaid)
        state = self._state()
        if self._publisher is None or not self._fenced or state.held:
            return
        try:
            published = self._publisher.rows(state.step, state.event_ms)
        except StorageError as error:
            self._alarm(f"the last delta is not published: {error}")
            return
        if published is not None:
            self._watcher.published(published)
        elif self._publisher.lost:
            self._due[self._save] = 0.0  # only a snapshot leads on

    def _dense(self) -> None:
        state = self._state()
        if self._publisher is None or not self._fenced or state.held:
            return
        self._rows()
        if self._publisher.reached < state.sequence:
            return  # the rows that these weights go with are not there
        try:
            published = self._publisher.dense(self._ranker.state_dict(), state.step, state.event_ms)
        except StorageError as error:
            self._alarm(f"the dense weights are not published: {error}")
            return
        self._watcher.published(published)

    def _save(self) -> None:
        if self._versions.busy:
            return
        self._rows()  # followers of deltas alone come past every checkpoint, so that whoever goes on from it meets them
        try:
            self._begin_version()
        except StorageError as error:
            self._alarm(str(error))

    def _begin_version(self) -> None:
        self._after = -1 if self._publisher is None else self._publisher.end()
        snapshot = self._tables.snapshot(folder=self._versions.folder)
        self._versions.begin(self._stage, snapshot, self._state())

    def _take_over(self, *, wait: bool) -> None:
        try:
            written = self._versions.done(wait=wait)
        except StorageError as error:
            self._alarm(str(error))
            return
        if written is not None:
            self._saved(written)

    def _saved(self, written: Written) -> None:
        self._watcher.saved(Saved(step=written.state.step, path=written.path, seconds=written.seconds))
        self.announce(written, self._after)

    def _alarm(self, text: str) -> None:
        self._watcher.alarmed(Alarm(step=self._state().step, what="storage", text=text))
