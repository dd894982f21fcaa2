"""A value model that is read again when its file changes. Knows when to ask nothing: whoever serves calls ``refresh``."""

from collections.abc import Sequence
from pathlib import Path

from larix.errors import ConfigError, LarixError, StorageError
from larix.feed import serial
from larix.feed.value import ValueModel


class LiveValueModel:
    """The value model in a JSON file, as of its last good state.

    ``current`` may be read by any number of threads while one calls ``refresh``; a request that uses what it read
    once sees one model throughout. ``trouble``: why the newest state of the file was not taken, or None.
    """

    def __init__(self, path: str | Path, tasks: Sequence[str]) -> None:
        """Read ``path``; ``tasks``: the names there are predictions for.

        ConfigError for a file that is no value model or weighs another task, StorageError for one that cannot be read.
        """
        self._path = Path(path)
        self._tasks = tuple(tasks)
        self._seen = self._bytes()
        self._current = self._parse(self._seen)
        self._trouble: str | None = None

    @property
    def current(self) -> ValueModel:
        """The newest good model."""
        return self._current

    @property
    def trouble(self) -> str | None:
        """Why the file as it is now was not taken; None if it was."""
        return self._trouble

    def refresh(self) -> bool:
        """Look at the file; return whether there is a new model. Never raises for what the file holds.

        The file is small and read whole, so that no clock's resolution hides a change. A file that is missing, half
        written or wrong leaves the model as it is and says why in ``trouble``. Write it beside its place and
        rename it, and no reader sees half of it.
        """
        try:
            found = self._bytes()
        except StorageError as error:
            self._seen, self._trouble = None, str(error)
            return False
        if found == self._seen:
            return False
        self._seen = found
        try:
            fresh = self._parse(found)
        except LarixError as error:
            self._trouble = str(error)
            return False
        self._trouble = None
        changed = fresh != self._current
        self._current = fresh
        return changed

    def _bytes(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise StorageError(f"value model '{self._path}' cannot be read: {error.strerror}") from error

    def _parse(self, found: bytes | None) -> ValueModel:
        assert found is not None
        try:
            model = serial.read(found.decode("utf-8"))
            model.check(self._tasks)
        except UnicodeDecodeError as error:
            raise ConfigError(f"value model '{self._path}' is not UTF-8 text: {error}") from error
        except ConfigError as error:
            raise ConfigError(f"value model '{self._path}': {error}") from error
        return model
