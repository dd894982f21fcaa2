"""What tests said, as figures: the online model beside the frozen one, in all, over time, and on new items alone.

Fed with what the trainer leaves in the topic of tests. Knows nothing of training or of logs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.batch import Floats
from larix.data.join.spec import READY
from larix.data.unjoin import key_of
from larix.errors import DataError
from larix.model.metrics import Metrics
from larix.model.metrics.check import Task
from larix.train.online import Tested

ONLINE, FROZEN = "online", "frozen"
Rows = Callable[[pa.RecordBatch | pa.Table], NDArray[np.bool_]]  # which of these rows
_BINS = 1 << 14
_KEPT = ("auc", "gauc", "logloss", "calibration", "xauc", "mae", "count", "positives", "gauc_users", "kind")


def record(
    tested: Tested, names: Sequence[str], *, identity: Sequence[str], time: str, item: str
) -> pa.RecordBatch:
    """The rows that a test leaves: ``step``, the sample's key, times, item, group and weight; by task the label and scores."""
    batch, records, size = tested.batch, tested.records, tested.batch.size
    assert batch.labels is not None
    columns: dict[str, Any] = {
        "step": np.full(size, tested.step, np.int64),
        "key": key_of(records, identity),
        "time_ms": records[time].cast(pa.int64()),
        "ready_ms": records[READY].cast(pa.int64()),
        "item": records[item],
        "group": batch.group if batch.group is not None else np.arange(size),
        "weight": tested.weight,
    }
    frozen = tested.scores if tested.frozen is None else tested.frozen
    for at, name in enumerate(names):
        columns |= {
            f"label.{name}": batch.labels[:, at],
            f"{ONLINE}.{name}": tested.scores[:, at],
            f"{FROZEN}.{name}": frozen[:, at],
        }
    return pa.RecordBatch.from_pydict(
        {name: pa.array(each) if isinstance(each, np.ndarray) else each for name, each in columns.items()}
    )


class _Pair:
    """Metrics of both models on the same samples."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.both = {name: Metrics(tasks, bins=_BINS) for name in (ONLINE, FROZEN)}
        self.samples = 0

    def add(self, rows: pa.RecordBatch) -> None:
        if not len(rows):
            return
        labels = _columns(rows, "label", self.tasks)
        group, weight = rows["group"].to_numpy(), rows["weight"].to_numpy()
        for name, metrics in self.both.items():
            metrics.update(_columns(rows, name, self.tasks), labels, weight, group)
        self.samples += len(rows)

    def compute(self) -> dict[str, Any]:
        found: dict[str, Any] = {"samples": self.samples}
        for name, metrics in self.both.items():
            tasks = metrics.compute()["tasks"]
            found[name] = {task: _kept(figures) for task, figures in tasks.items()}
        return found


class Scores:
    """Reads tests in their order and keeps figures of them, in bounded memory but for one entry a window.

    ``measured``: says which rows count in ``total`` and ``new_items``. ``window_ms``: the span of an entry of
    ``windows``. ``new``: says which items are new. A step that comes again, as after a crash, is passed over.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        measured: Rows,
        window_ms: int,
        new: Callable[[pa.Array], NDArray[np.bool_]],
    ) -> None:
        self.tasks = tuple(tasks)
        self._measured, self._window_ms, self._new = measured, window_ms, new
        self._total, self._fresh, self._so_far = _Pair(tasks), _Pair(tasks), _Pair(tasks)
        self._window: tuple[int, _Pair] | None = None
        self.windows: list[dict[str, Any]] = []
        self.step = -1
        self.samples = 0
        self.event_ms = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Add what ``record`` made of one or more batches."""
        steps = rows["step"].to_numpy()
        if len(steps) and (np.diff(steps) < 0).any():
            for at in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(steps) < 0) + 1):
                self.add(rows.slice(at[0], len(at)))
            return
        rows = rows.slice(int(np.searchsorted(steps, self.step, side="right")))
        if not len(rows):
            return
        self.step = rows["step"][-1].as_py()
        self.samples += len(rows)
        times = rows["time_ms"].to_numpy()
        self.event_ms = max(self.event_ms, int(times.max()))
        self._so_far.add(rows)
        counted = rows.filter(pa.array(self._measured(rows)))
        self._total.add(counted)
        if len(counted):
            self._fresh.add(counted.filter(pa.array(self._new(counted["item"]))))
        numbers = np.maximum.accumulate(times // self._window_ms)
        for number in np.unique(numbers).tolist():
            self._into_window(number, rows.filter(pa.array(numbers == number)))

    def _into_window(self, number: int, rows: pa.RecordBatch) -> None:
        if self._window is None or number > self._window[0]:
            self._end_window()
            self._window = (number, _Pair(self.tasks))
        self._window[1].add(rows)

    def _end_window(self) -> None:
        if self._window is not None:
            number, pair = self._window
            self.windows.append({"last_ms": (number + 1) * self._window_ms, **pair.compute()})
            self._window = None

    def so_far(self) -> dict[str, Any]:
        """Samples and figures of both models by task, over all samples."""
        return self._so_far.compute()

    def finish(self) -> dict[str, Any]:
        """All figures: ``total`` and ``new_items`` of the days measured, ``all``, and ``windows``; JSON values."""
        self._end_window()
        return {
            "total": self._total.compute(),
            "new_items": self._fresh.compute(),
            "all": self._so_far.compute(),
            "windows": self.windows,
        }


def _columns(rows: pa.RecordBatch, what: str, tasks: Sequence[Task]) -> Floats:
    try:
        return np.stack([rows[f"{what}.{task.name}"].to_numpy() for task in tasks], axis=1)
    except KeyError as error:
        raise DataError(
            f"the tests have no column {error}; they were made by a run of other tasks"
        ) from error


def _kept(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: figures[name] for name in (*_KEPT, "curve") if name in figures}
