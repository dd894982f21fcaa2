"""The metrics of a run's tasks, in total and by scene, fed batch by batch. Knows neither model nor loop."""

from collections.abc import Sequence

import numpy as np

from larix.batch import Floats, Ids
from larix.errors import ConfigError
from larix.model.metrics.check import Task, check_batch, check_tasks
from larix.model.metrics.tally import BinaryTally, Json, RegressionTally, number
from larix.model.metrics.users import Users, gauc, xauc

FLUSH = 1 << 17  # samples buffered between rounds of real work, so that a round is worth its fixed cost
XAUC_SAMPLES = 1 << 18  # of the samples kept, how many XAUC looks at: its standard error is then below 0.001

Tally = BinaryTally | RegressionTally


class Metrics:
    """AUC, GAUC, loss and calibration of binary tasks, errors and XAUC of regression tasks, batch by batch.

    ``update`` any number of times, then ``compute``. A label that is NaN does not count. Memory is bounded:
    ``bins`` score bins of 29 bytes a task and scene (see Sketch for AUC's error), ``budget`` samples of ``20
    + 8 * tasks`` bytes for GAUC and XAUC (see Users for what happens beyond), and ``max_scenes`` scenes
    reported apart; the total counts every scene.
    """

    def __init__(
        self, tasks: Sequence[Task], *, bins: int = 1 << 16, budget: int = 1 << 22, max_scenes: int = 64
    ) -> None:
        check_tasks(tasks)
        self.tasks = tuple(tasks)
        self._samples = 0
        self.scenes_left_out: set[int] = set()
        self._bins = bins
        self._max_scenes = max_scenes
        self._total = self._tallies()
        self._scenes: dict[int, list[Tally]] = {}
        self._users = Users(len(tasks), budget)
        self._keys: tuple[bool, bool] | None = None  # whether batches say group and scene
        self._buffer: list[tuple[Ids | None, Ids | None, Floats]] = []
        self._buffered = 0

    def update(
        self,
        scores: Floats,
        labels: Floats,
        weight: Floats | None = None,
        group: Ids | None = None,
        scene: Ids | None = None,
    ) -> None:
        """Add scores and labels ``[B, tasks]``, weight, scene and group (whom GAUC ranks within) ``[B]``.

        A score is a logit, or log1p of seconds for a regression task. Raises ConfigError for shapes that do
        not fit, NumericsError for a score that is not finite, DataError for a binary label other than 0 and
        1, for a negative or infinite number of seconds, and for a weight that is not a finite number from 0
        on.
        """
        weight = np.ones(len(scores), np.float32) if weight is None else np.asarray(weight, np.float32)
        scores, labels = np.asarray(scores, np.float32), np.asarray(labels, np.float32)
        check_batch(self.tasks, scores, labels, weight, group, scene)
        self._agree((group is not None, scene is not None))
        # Copies throughout: the caller may reuse its buffers before this batch is counted.
        self._buffer.append(
            (
                None if group is None else np.array(group, np.int64),
                None if scene is None else np.array(scene, np.int64),
                np.column_stack([scores, labels, weight]),
            )
        )
        self._buffered += len(scores)
        if self._buffered >= FLUSH:
            self._flush()

    def merge(self, other: "Metrics") -> None:
        """Add all that ``other`` has seen, such as another worker's part; ConfigError if its tasks differ."""
        mine, theirs = ([(task.name, task.kind) for task in metrics.tasks] for metrics in (self, other))
        if mine != theirs:
            raise ConfigError(f"metrics of tasks {theirs} cannot be merged into metrics of tasks {mine}")
        if other._keys is not None:
            self._agree(other._keys)
        self._flush()
        other._flush()
        self._samples += other._samples
        self.scenes_left_out |= other.scenes_left_out
        _merge(self._total, other._total)
        for scene, tallies in other._scenes.items():
            if (here := self._scene(scene)) is not None:
                _merge(here, tallies)
        self._users.merge(other._users)

    def compute(self, curve: int = 20) -> Json:
        """Return what was seen so far, ready for JSON; None for no value, such as AUC without positives.

        ``{"samples", "users_share", "scenes_left_out", "tasks": {task: metrics}, "scenes": {scene: {task:
        metrics}}}``, the fullest scene first. Binary: ``kind, count, positives, auc, auc_error, gauc,
        gauc_users, logloss, predicted, observed, calibration`` and, in total, ``curve``: up to so many parts
        of equal weight, each with ``predicted, observed, weight``. Regression: ``kind, count, mae, rmse,
        predicted, observed`` in seconds, ``calibration, xauc``. GAUC stands on ``users_share`` of the users;
        ``gauc_users`` of them had both outcomes.
        """
        self._flush()
        self._users.gather()
        scenes = sorted(self._scenes, key=lambda scene: -max(tally.count for tally in self._scenes[scene]))
        return {
            "samples": self._samples,
            "users_share": self._users.share,
            "scenes_left_out": len(self.scenes_left_out),
            "tasks": self._report(self._total, self._users.values, self._users.group, curve),
            "scenes": {str(scene): self._report_scene(scene) for scene in scenes},
        }

    def _report_scene(self, scene: int) -> Json:
        rows = self._users.scene == scene
        return self._report(self._scenes[scene], self._users.values[rows], self._users.group[rows], 0)

    def _report(self, tallies: list[Tally], values: Floats, group: Ids, curve: int) -> Json:
        grouped = self._keys is not None and self._keys[0]
        result: Json = {}
        for index, (task, tally) in enumerate(zip(self.tasks, tallies, strict=True)):
            score, label, weight = values[:, index], values[:, len(self.tasks) + index], values[:, -1]
            known = ~np.isnan(label)
            if isinstance(tally, BinaryTally):
                metrics = tally.compute(curve)
                if grouped:
                    mean, users = gauc(group[known], score[known], label[known], weight[known])
                    metrics |= {"gauc": number(mean), "gauc_users": users}
            else:
                metrics = tally.compute()
                picked = np.flatnonzero(known)
                picked = picked[:: -(-len(picked) // XAUC_SAMPLES) or 1]
                metrics["xauc"] = number(xauc(score[picked], label[picked], weight[picked]))
            result[task.name] = metrics
        return result

    def _agree(self, keys: tuple[bool, bool]) -> None:
        if self._keys is not None and self._keys != keys:
            raise ConfigError(
                "some batches have a group or a scene and some have none; give them with every batch or never"
            )
        self._keys = keys

    def _tallies(self) -> list[Tally]:
        return [
            BinaryTally(self._bins) if task.kind == "binary" else RegressionTally() for task in self.tasks
        ]

    def _scene(self, scene: int) -> list[Tally] | None:
        if scene not in self._scenes:
            if len(self._scenes) >= self._max_scenes:
                self.scenes_left_out.add(scene)
                return None
            self._scenes[scene] = self._tallies()
        return self._scenes[scene]

    def _flush(self) -> None:
        if not self._buffer:
            return
        groups, scenes, parts = zip(*self._buffer, strict=True)
        self._buffer, self._buffered = [], 0
        values = np.concatenate(parts)
        # Without groups every sample is a user of its own: XAUC needs samples, GAUC is not reported.
        group = np.concatenate(groups) if groups[0] is not None else self._samples + np.arange(len(values))
        scene = np.concatenate(scenes) if scenes[0] is not None else np.zeros(len(values), np.int64)
        self._samples += len(values)
        self._users.add(group, scene, values)
        self._count(self._total, values)
        if scenes[0] is not None:
            order = np.argsort(scene, kind="stable")
            for rows in np.split(order, np.flatnonzero(np.diff(scene[order])) + 1):
                if (tallies := self._scene(int(scene[rows[0]]))) is not None:
                    self._count(tallies, values[rows])

    def _count(self, tallies: list[Tally], values: Floats) -> None:
        for index, tally in enumerate(tallies):
            label = values[:, len(self.tasks) + index]
            known = ~np.isnan(label)
            tally.add(values[known, index], label[known], values[known, -1])


def _merge(mine: list[Tally], others: list[Tally]) -> None:
    for tally, other in zip(mine, others, strict=True):
        if isinstance(tally, BinaryTally):
            assert isinstance(other, BinaryTally)
            tally.merge(other)
        else:
            assert isinstance(other, RegressionTally)
            tally.merge(other)
