"""The join in this process: micro-batches of events in, samples out, over state that survives restarts.

What comes out is a function of the events, as `reference.py` says it. Knows nothing of logs and positions in them.
"""

import base64
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from larix.data.join import saving
from larix.data.join.actions import Actions, Rows
from larix.data.join.arrivals import Arrivals, Keys
from larix.data.join.carried import Carried
from larix.data.join.emission import Emission
from larix.data.join.impressions import Impressions
from larix.data.join.judge import Accepted, Judge
from larix.data.join.spec import IMPRESSION, NEVER, Action, JoinSpec
from larix.data.join.stats import JoinStats
from larix.data.join.store import Store
from larix.data.join.watermark import Watermark
from larix.data.log.events import Events
from larix.errors import ConfigError, StorageError

_TYPES = {"int64": pa.int64(), "string": pa.string()}


class Joiner:
    """Joins events by a spec. For one thread. State is bounded by the window and the lateness.

    Args:
        spec: what becomes what.
        partitions: how many each topic has.
        memory_budget: bytes; of state beyond it, the columns of impressions due last are moved to the disk.
        spill: a folder for that and for the files of saves, this joiner's alone; on the disk of saves, they cost no
            copies. None: a temporary one.
        clock: seconds, for `JoinSpec.idle_s` alone.

    Raises:
        ConfigError: the topics are not those of the spec.
        LeaseError: another joiner has the folder.
    """

    def __init__(
        self,
        spec: JoinSpec,
        *,
        partitions: Mapping[str, int],
        memory_budget: int = 256 << 20,
        spill: Path | str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if set(partitions) != set(spec.topics) or not all(count > 0 for count in partitions.values()):
            raise ConfigError(
                f"partitions={dict(partitions)!r}, but the join reads topics {sorted(spec.topics)}"
            )
        self.spec, self.partitions, self.memory_budget = spec, dict(partitions), memory_budget
        self.stats = JoinStats.of(spec)
        ours = spec.impressions
        self._store = Store(None if spill is None else Path(spill))
        self._saves = False  # after the last push, so probably after the next one too
        self._watermark = Watermark(spec, partitions, clock)
        self._judge = Judge(spec, self._watermark)
        # Where one column is key and event id, it is what keys are.
        types = {ours.event_id: _TYPES[spec.ids]} | {ours.key: _TYPES[spec.keys], ours.time: pa.int64()}
        self._carried = Carried(types)
        self._impressions = Impressions(spec, self._carried, self._store)
        self._actions = Actions(spec.window_ms, self._store)
        self._emission = Emission(spec, self._carried, self._impressions, self._actions)

    @property
    def watermark(self) -> int | None:
        """All events before it have come; those that come yet are late. None: it is not known."""
        return self._watermark.value

    @property
    def state_bytes(self) -> int:
        """Memory of the state."""
        return self._impressions.nbytes + self._actions.nbytes + self._judge.nbytes

    def push(self, events: Sequence[Events], *, behind: Iterable[tuple[str, int]] = ()) -> pa.Table:
        """Take events, of one partition in the order of their offsets; return the samples that became final, in order.

        ``behind``: topics and partitions of which there are more events than these, so that they are not idle.

        Raises:
            ConfigError: an event is of a topic or partition that this joiner was not told of. Nothing was taken.
            StorageError: the state is beyond the budget, and the disk is full. Nothing was taken: push again.
        """
        for each in events:
            if not 0 <= each.partition < self.partitions.get(each.topic, 0):
                raise ConfigError(
                    f"there are events of partition {each.partition} of topic '{each.topic}', but this join reads "
                    f"{self.partitions}; where a topic was given more, keys have moved: begin the join anew"
                )
        self._fit()
        actions = []
        for topic in self.spec.topics:
            ours = [each for each in events if each.topic == topic and len(each.rows)]
            if ours:
                rows = Arrivals(ours)
                for accepted in self._judge.judge(topic, rows, self.stats):
                    if not len(accepted.rows):
                        continue
                    if isinstance(accepted.kind, Action):
                        actions.append(self._actions_of(accepted.kind, rows, accepted))
                    else:
                        self._add_impressions(rows, accepted)
        if actions:
            self._actions.add(Rows.concat(actions), write=self._saves)
        self._saves = False
        self._watermark.advance(behind)
        return self._out()

    def finish(self) -> pa.Table:
        """The input is over: return the samples that are left.

        Should events come all the same, those later than all before count, as if it had just begun; others are late.
        """
        self._watermark.end()
        samples = self._out()
        self._watermark.go_on()
        return samples

    def save(self, folder: Path | str) -> None:
        """Write all state into an empty folder. Files that did not change since the last save are hard links.

        Raises:
            ConfigError: there is something in the folder.
            StorageError: there is no space; the joiner goes on as if nothing was asked.
        """
        folder = Path(folder)
        actions, impressions = self._actions.save(), self._impressions.save()
        schema = pa.schema([*self._carried.types.items()]).serialize().to_pybytes()
        state = {
            "spec": self.spec.to_json(),
            "partitions": self.partitions,
            "watermark": self._watermark.to_json(),
            "stats": self.stats.to_json(),
            "schema": base64.b64encode(schema).decode(),
            "impressions": [file.to_json() | {"pane": pane} for pane, file in impressions],
            "actions": [file.to_json() for file in actions],
        }
        saving.save(folder, self._store, [*(file for _, file in impressions), *actions], state)
        self._saves = True

    @classmethod
    def load(
        cls,
        spec: JoinSpec,
        folder: Path | str,
        *,
        memory_budget: int = 256 << 20,
        spill: Path | str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> "Joiner":
        """The joiner that was saved: it goes on as that one would have.

        Raises:
            StorageError: a file is missing or damaged.
            ConfigError: it was saved with another spec.
        """
        folder = Path(folder)
        state = saving.read(folder)
        if state["spec"] != spec.to_json():
            there, here = state["spec"], spec.to_json()
            parts = ", ".join(sorted(name for name in here if here[name] != there.get(name)))
            raise ConfigError(
                f"'{folder}' is the state of another join: {parts} differ; load it with the spec it was saved with, or "
                "begin anew"
            )
        joiner = cls(
            spec, partitions=state["partitions"], memory_budget=memory_budget, spill=spill, clock=clock
        )
        try:
            joiner._restore(folder, state)
        except BaseException:
            joiner.close()
            raise
        return joiner

    def close(self) -> None:
        """Let another joiner have the folder."""
        self._store.close()

    def _actions_of(self, kind: Action, rows: Arrivals, accepted: Accepted) -> Rows:
        count = len(accepted.rows)
        return Rows(
            times=accepted.times,
            keys=accepted.keys.hashes[accepted.rows],
            ids=accepted.ids.take(accepted.rows),
            kinds=np.full(count, self.spec.actions.index(kind), np.int8),
            values=np.zeros(count) if kind.value is None else rows.numbers(kind.value)[accepted.rows],
        )

    def _add_impressions(self, rows: Arrivals, accepted: Accepted) -> None:
        ours, keys = self.spec.impressions, accepted.keys
        columns = {ours.event_id: accepted.ids.column} | {
            ours.key: keys.column,
            ours.time: pa.array(accepted.all_times),
        }
        batch, at = rows.rows(accepted.rows, columns, self._carried, self.stats.unfit)
        self._impressions.add(batch, at, keys.hashes[accepted.rows], accepted.times, write=self._saves)

    def _out(self) -> pa.Table:
        watermark = NEVER if self.watermark is None else self.watermark
        samples = self._emission.emit(watermark, self.stats)
        self._impressions.forget(watermark)
        self._actions.forget(watermark)
        self._judge.forget(watermark)
        # What came out must reach the caller. If there is no room, the next push says so before it takes anything.
        with suppress(StorageError):
            self._fit()
        return samples

    def _fit(self) -> None:
        over = self.state_bytes - self.memory_budget
        while over > 0 and (freed := self._spill()):
            over -= freed

    def _spill(self) -> int:
        """What is needed last first: columns, then actions that are done, then what finds impressions, then ids."""
        return (
            self._impressions.spill()
            or self._actions.spill()
            or self._impressions.spill_index()
            or self._judge.spill(self._store.folder)
        )

    def _restore(self, folder: Path, state: Mapping[str, Any]) -> None:
        self._watermark.restore(state["watermark"])
        self.stats = JoinStats.from_json(state["stats"])
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(state["schema"])))
        self._carried.types = {field.name: field.type for field in schema}
        watermark = NEVER if self.watermark is None else self.watermark
        ours = self.spec.impressions
        for said in state["impressions"]:
            file = self._store.load("impressions", said, folder)
            rows = self._store.read(file)
            keys, ids = (_keys(rows.column(name)) for name in (ours.key, ours.event_id))
            times = rows.column(ours.time).to_numpy()
            width, number = said["pane"]
            self._impressions.restore((width, number), file, rows, keys.hashes, times)
            self._remember(IMPRESSION, ids, times, watermark)
        for said in state["actions"]:
            file = self._store.load("actions", said, folder)
            actions = Rows.from_batch(self._store.read(file))
            self._actions.restore(actions, file)
            ids = Keys(actions.ids, np.ones(len(actions.times), bool))
            for number, action in enumerate(self.spec.actions):
                of_kind = actions.kinds == number
                self._remember(action.name, ids, np.where(of_kind, actions.times, NEVER), watermark)
        self._emission.catch_up(watermark)

    def _remember(self, name: str, ids: Keys, times: Any, watermark: int) -> None:
        rows = np.flatnonzero(times >= max(watermark, 0))
        self._judge.remember(name, ids.hashes[rows], times[rows])


def _keys(column: pa.Array) -> Keys:
    values = column if pa.types.is_string(column.type) else column.to_numpy()
    return Keys(values, np.ones(len(column), bool))
