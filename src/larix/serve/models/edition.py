"""A version of a model in memory, warm; and who brings it there. Knows nothing of how it scores or is kept current."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from larix.embedding import Replica
from larix.serve.engine import Target
from larix.serve.models.upkeep import adapted, gauges_of
from larix.serve.service import Columns


class Edition(Protocol):
    """One version. Any number of threads may ask for its target; whoever has one may go on with it for as long as it likes."""

    @property
    def target(self) -> Target:
        """Its newest state."""
        ...

    @property
    def columns(self) -> Columns:
        """How requests to it are read."""
        ...

    @property
    def gauges(self) -> Mapping[str, float]:
        """What it tells of itself, by name."""
        ...

    @property
    def trouble(self) -> str:
        """What keeps it from its newest state; "" if nothing does."""
        ...

    def start(self) -> None:
        """Keep its state current until `stop`, if it has anything to follow. Once more does nothing."""
        ...

    def stop(self) -> None:
        """Stay at the state that it has. Once more does nothing."""
        ...

    def mind(self) -> None:
        """Do what is due now and then, off the answers' path. Never raises."""
        ...


class Loader(Protocol):
    """Brings a version into memory."""

    def __call__(self, path: Path, *, model: str, version: str, beside: bool) -> Edition:
        """The bundle in the folder ``path``, ready to answer at once as ``version`` of ``model``: compiled, measured, warm.

        ``beside``: others answer meanwhile, on the same cores, and loading takes its time to leave them these. StorageError
        names what is damaged, ConfigError what does not fit this machine.
        """
        ...


class Still:
    """An edition that stays as it was loaded, with its ``rows``."""

    def __init__(self, target: Target, columns: Columns, rows: Replica) -> None:
        self.target = target
        self.columns = columns
        self.trouble = ""
        self._rows = rows

    @property
    def gauges(self) -> Mapping[str, float]:
        """Of its rows."""
        return gauges_of(self._rows)

    def start(self) -> None:
        """Nothing to follow."""

    def stop(self) -> None:
        """Nothing to end."""

    def mind(self) -> None:
        """Move rows between levels, if they are on several."""
        self.trouble = adapted(self._rows)
