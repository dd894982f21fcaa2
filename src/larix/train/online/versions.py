"""An online run's versions: written on a thread beside training, announced and pruned when they are whole.

Knows files and one snapshot of the tables; knows nothing of what is in them.
"""

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from larix.embedding import Snapshot, storage
from larix.errors import StorageError
from larix.train import version

_STAGED = ".staged"


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Which state a version is of; ``held``: it is not to be published."""

    step: int
    sequence: int
    mark: int
    event_ms: int
    held: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A version that is whole; writing it took ``seconds``."""

    path: Path
    state: State
    seconds: float


class Versions:
    """The versions in ``folder``: one is written at a time. ``good``: the newest that was published; it is never pruned."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.good = ""
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, "larix-version")
        self._writing: Future[Written] | None = None
        shutil.rmtree(folder / _STAGED, ignore_errors=True)

    @property
    def busy(self) -> bool:
        """Whether one is being written, or was and was not asked for yet."""
        return self._writing is not None

    def begin(
        self,
        stage: Callable[[Path], Mapping[str, bytes]],
        snapshot: Snapshot,
        state: State,
    ) -> None:
        """Write the version of ``state``: the rows of ``snapshot``, and what ``stage`` gives and puts into a folder now.

        StorageError if that cannot be written; what fails later `done` raises.
        """
        assert self._writing is None, "one version is written at a time"
        staged = self.folder / _STAGED
        try:
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
            files = stage(staged)
        except (OSError, StorageError) as error:
            snapshot.close()
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise StorageError(f"version {state.step} in '{self.folder}' cannot be written: {why}") from error
        target, began = version.path_of(self.folder, state.step), monotonic()

        def fill(fresh: Path) -> None:
            for each in staged.iterdir():
                each.rename(fresh / each.name)
            staged.rmdir()
            storage.write(snapshot, fresh / "tables")

        def write() -> Written:
            try:
                if not target.exists():
                    version.write(target, files, fill)
            finally:
                snapshot.close()
            return Written(path=target, state=state, seconds=monotonic() - began)

        self._writing = self._thread.submit(write)

    def done(self, *, wait: bool = False) -> Written | None:
        """The version that has been written since it was last asked, if one has. StorageError if it could not be."""
        if self._writing is None or not (wait or self._writing.done()):
            return None
        writing, self._writing = self._writing, None
        found = writing.result()
        if not found.state.held:
            self.good = found.path.name
        version.prune(self.folder, self._keep, {self.good} if self.good else ())
        return found

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True)
