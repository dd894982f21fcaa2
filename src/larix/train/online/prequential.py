"""Prequential metrics: every sample is tested before it is trained on (Dawid, 1984), by window of event time and in all.

Knows metrics; knows nothing of models or of files.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from larix.batch import Floats
from larix.errors import StorageError
from larix.features import Sample
from larix.model.metrics import Metrics
from larix.model.metrics.state import Arrays, dump, load
from larix.train.online.watcher import Tested

_WINDOW = 4  # part of the total's bounds that a window gets
_SCENES = 16


class Prequential:
    """Metrics of the window at hand and of all before it, for the model that learns and, if ``frozen``, for one that does not.

    A window is as many milliseconds of event time; it ends with the first batch that is of a later one. What came out
    is the same whenever the same batches are tested, however often it was saved and restored.
    """

    def __init__(self, sample: Sample, window_ms: int, *, bins: int, budget: int, frozen: bool) -> None:
        self._tasks = sample.tasks
        self._window_ms = window_ms
        self._bins, self._budget = bins, budget
        self._names = ("online", "frozen") if frozen else ("online",)
        self._windows = self._fresh(_WINDOW)
        self._totals = self._fresh(1)
        self._at: int | None = None  # the window's number

    @property
    def first_ms(self) -> int | None:
        """Where the window at hand begins; None if there is none."""
        return None if self._at is None else self._at * self._window_ms

    def over(self, event_ms: int) -> bool:
        """Whether the window at hand has ended before ``event_ms``."""
        return self._at is not None and event_ms // self._window_ms > self._at

    def add(self, tested: Tested, event_ms: int) -> None:
        """Count a batch in the window at hand, or begin one with it."""
        self._at = event_ms // self._window_ms if self._at is None else self._at
        batch = tested.batch
        assert batch.labels is not None
        given: dict[str, Floats | None] = {"online": tested.scores, "frozen": tested.frozen}
        for name in self._names:
            scores = given[name]
            assert scores is not None
            self._windows[name].update(scores, batch.labels, tested.weight, batch.group, batch.scene)

    def end(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """End the window: metrics of it and of all so far, by "online" and "frozen"."""
        windows = {name: metrics.compute(0) for name, metrics in self._windows.items()}
        for name, metrics in self._windows.items():
            self._totals[name].merge(metrics)
        totals = {name: metrics.compute() for name, metrics in self._totals.items()}
        self._windows, self._at = self._fresh(_WINDOW), None
        return windows, totals

    def save(self) -> dict[str, bytes]:
        """Files for a checkpoint."""
        said: dict[str, Any] = {"at": self._at}
        arrays: Arrays = {}
        for part, of in (("window", self._windows), ("total", self._totals)):
            for name, metrics in of.items():
                said[f"{part}.{name}"], found = dump(metrics)
                arrays |= {f"{part}.{name}/{key}": array for key, array in found.items()}
        return {
            "prequential.json": json.dumps(said).encode(),
            "prequential.safetensors": safetensors.numpy.save(
                {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            ),
        }

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Go on from what ``save`` gave; a frozen model that was not there before is counted from here on."""
        try:
            said = json.loads(files["prequential.json"])
            arrays = safetensors.numpy.load(files["prequential.safetensors"])
        except (KeyError, ValueError, safetensors.SafetensorError) as error:
            raise StorageError(f"the version has no prequential metrics: {error}") from error
        self._at = said["at"]
        for part, of in (("window", self._windows), ("total", self._totals)):
            for name, metrics in of.items():
                if (key := f"{part}.{name}") in said:
                    found = {
                        path.removeprefix(f"{key}/"): array
                        for path, array in arrays.items()
                        if path.startswith(f"{key}/")
                    }
                    load(metrics, said[key], found)

    def _fresh(self, part: int) -> dict[str, Metrics]:
        bounds = {
            "bins": max(1, self._bins // part),
            "budget": max(1, self._budget // part),
            "max_scenes": _SCENES,
        }
        return {name: Metrics(self._tasks, **bounds) for name in self._names}
