"""A checkpoint: all that a run needs to go on as if it had never stopped, as one version, without pickle.

Knows nothing of steps, of run folders or of what a ranker computes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import safetensors.torch
import torch
from torch import Tensor, nn

from larix.batch import Floats, Ids
from larix.embedding import Stats, TableSpec
from larix.errors import ConfigError, StorageError
from larix.features import Sample
from larix.model.embed import Store
from larix.train import generators, version
from larix.train.point import Point
from larix.train.step import Learner


class SavedStore(Store, Protocol):
    """A store of rows that can be saved and loaded: ``embedding.Tables`` or the oracle."""

    specs: dict[str, TableSpec]

    def __init__(
        self,
        specs: Sequence[TableSpec],
        *,
        seed: int = 0,
        threads: int = 0,
        memory_budget: int | str | None = None,
        cold: str | Path | None = None,
        background: bool = True,
    ) -> None: ...

    def rows(self, table: str) -> int: ...  # noqa: D102

    def lookup(self, table: str, ids: Ids) -> Floats: ...  # noqa: D102

    def save(self, folder: str | Path) -> None: ...  # noqa: D102

    @classmethod
    def load(  # noqa: D102
        cls,
        folder: str | Path,
        *,
        specs: Sequence[TableSpec] | None = None,
        threads: int = 0,
        memory_budget: int | str | None = None,
        cold: str | Path | None = None,
        background: bool = True,
    ) -> Self: ...

    def stats(self) -> Stats: ...  # noqa: D102


def save(
    folder: Path, learner: Learner, tables: SavedStore, point: Point, *, history: Mapping[str, Any], keep: int
) -> Path:
    """Write the version of ``point`` into ``folder``, then drop all but the newest ``keep``; return its path.

    ``history``: what was measured so far, as JSON values. StorageError if it cannot be written; the versions
    before stay.
    """
    target = version.path_of(folder, point.step)
    if target.exists():
        return target
    version.write(target, contents(learner, point, history), lambda fresh: tables.save(fresh / "tables"))
    version.prune(folder, keep)
    return target


def contents(learner: Learner, point: Point, history: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a version, but for its tables: as all is now."""
    optimizer, moments = _flat(learner.optimizer.state_dict())
    random, draws = generators.states()
    sample = learner.embed.sample
    state = {
        "point": point.to_json(),
        "history": dict(history),
        "tasks": [{"name": task.name, "kind": task.kind, "column": task.column} for task in sample.tasks],
        "optimizer": optimizer,
        "generators": random,
    }
    files = {
        "state.json": _json(state),
        "features.json": sample.to_json().encode(),
        "ranker.safetensors": _tensors(learner.ranker.state_dict()),
        "optimizer.safetensors": _tensors(moments),
        "generators.safetensors": _tensors(draws),
    }
    if learner.average is not None:
        files["average.safetensors"] = _tensors(learner.average.state_dict())
    return files


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A version read back and found whole; its tables check their own files when they are loaded."""

    path: Path
    files: Mapping[str, bytes]
    state: Mapping[str, Any]

    @property
    def point(self) -> Point:
        """How far the run had come."""
        return Point.from_json(self.state["point"])

    @property
    def sample(self) -> Sample:
        """The declaration of samples, fitted."""
        return Sample.from_json(self.files["features.json"].decode())

    def tables(
        self,
        store: type[SavedStore],
        specs: Sequence[TableSpec] | None = None,
        threads: int = 0,
        memory_budget: int | str | None = None,
        cold: str | Path | None = None,
    ) -> SavedStore:
        """Return the rows; StorageError names a damaged file, ConfigError a table that does not fit."""
        return store.load(
            self.path / "tables",
            specs=specs,
            threads=threads,
            memory_budget=memory_budget,
            cold=cold,
            background=False,
        )

    def restore(self, learner: Learner) -> None:
        """Set weights, optimizer, moving average and random generators to what they were."""
        _load(learner.ranker, self._read("ranker.safetensors"), self.path)
        flat = self._read("optimizer.safetensors")
        try:
            learner.optimizer.load_state_dict(_deep(self.state["optimizer"], flat, learner.optimizer))
        except (ValueError, KeyError) as error:
            raise ConfigError(
                f"the optimizer of '{self.path}' does not fit the one given: {error}; give the one it was "
                "trained with"
            ) from error
        if learner.average is not None:
            if "average.safetensors" not in self.files:
                raise ConfigError(
                    f"'{self.path}' has no moving average; go on with average=0, as it was trained"
                )
            _load(learner.average, self._read("average.safetensors"), self.path)
        generators.restore(self.state["generators"], self._read("generators.safetensors"))

    def restore_ranker(self, ranker: nn.Module) -> None:
        """Set the weights to those for use."""
        _load(ranker, self.network(), self.path)

    def network(self) -> dict[str, Tensor]:
        """The ranker's weights for use, by name: the moving average where there is one."""
        if "average.safetensors" not in self.files:
            return self._read("ranker.safetensors")
        average, prefix = self._read("average.safetensors"), "module."
        return {
            name.removeprefix(prefix): value for name, value in average.items() if name.startswith(prefix)
        }

    def _read(self, name: str) -> dict[str, Tensor]:
        found: dict[str, Tensor] = safetensors.torch.load(self.files[name])
        return found


def load(folder: Path) -> Checkpoint | None:
    """Return the newest version in ``folder``, None if there is none. StorageError names a damaged file."""
    there = version.versions(folder)
    return read(there[-1]) if there else None


def read(path: Path) -> Checkpoint:
    """Return the version ``path``. StorageError names a damaged file."""
    files = version.read(path)
    missing = sorted({"state.json", "features.json", "ranker.safetensors"} - set(files))
    if missing:
        raise StorageError(f"version '{path}' is not a checkpoint: it has no {missing}")
    return Checkpoint(path, files, json.loads(files["state.json"]))


def _json(state: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(state, indent=1).encode()
    except TypeError as error:
        raise ConfigError(
            f"the optimizer has a setting that JSON cannot hold: {error}; use plain numbers"
        ) from error


def _tensors(given: Mapping[str, Tensor]) -> bytes:
    # Copies, for safetensors refuses tensors that share memory, as tied weights do.
    own = {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in given.items()
    }
    return bytes(safetensors.torch.save(own))


def _load(module: nn.Module, found: Mapping[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(found)
    except RuntimeError as error:
        raise ConfigError(
            f"the ranker of '{path}' is not the one given: {error}; build it as it was trained"
        ) from error


def _flat(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Split an optimizer's state: what JSON holds, and tensors by ``parameter.name``."""
    plain: dict[str, dict[str, Any]] = {}
    tensors: dict[str, Tensor] = {}
    for index, values in given["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    return {"groups": given["param_groups"], "plain": plain}, tensors


def _deep(
    given: Mapping[str, Any], tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Join what ``_flat`` split; lists become tuples, which JSON does not know, where ``optimizer`` has tuples."""
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in given["plain"].items()}
    for path, value in tensors.items():
        index, name = path.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = []
    for saved, now in zip(given["groups"], optimizer.param_groups, strict=True):
        pairs = {name: tuple(value) for name, value in saved.items() if isinstance(now.get(name), tuple)}
        groups.append({**saved, **pairs})
    return {"state": state, "param_groups": groups}
