"""A replay's folder: what it was told, and where its parts lie. Knows nothing of what happens there."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from larix.errors import ConfigError, StorageError
from larix.train.run import read_json, write_json

IMPRESSIONS, ACTIONS, DELTAS = "impressions", "actions", "deltas"
SENT, TESTED, ANSWERS, PROGRESS = "sent", "tested", "answers", "progress"
_TOLD = "replay.json"
_SLICE_MS = 60_000
_TOGETHER_S = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a replay was told. Days are ISO dates, inclusive, those of the prepared samples.

    ``join``: the JoinSpec's JSON; ``identity``: the columns of a sample that its key is made of. ``trained_to``: the last
    day that the run was trained on. ``measured``: the first day that counts in what is reported; those before warm the model
    up. ``speed``: event time over wall clock; None: as fast as the trainer takes it. ``ahead``: how many events may lie
    unread in the log without ``speed``. ``threads``: of the trainer. ``partitions``: of the topics of events.
    ``data``: the recipe's data, if it was told of another folder than the run was trained on.
    """

    run: str
    join: dict[str, Any]
    identity: list[str]
    trained_to: str
    first: str
    last: str
    measured: str
    speed: float | None = None
    ahead: int = 20_000
    threads: int = 1
    partitions: int = 1
    data: str | None = None

    def __post_init__(self) -> None:
        if self.speed is not None and not self.speed > 0:
            raise ConfigError(
                f"the speed is {self.speed}; it must be above 0, such as 3600: an hour in a second"
            )
        for name in ("ahead", "threads", "partitions"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.trained_to < self.first <= self.measured <= self.last:
            raise ConfigError(
                f"a replay from {self.first} to {self.last}, measured from {self.measured}, of a run trained to "
                f"{self.trained_to}: these days must come in the order trained, first, measured, last"
            )

    @property
    def source(self) -> Path | None:
        """Where ``data`` is."""
        return None if self.data is None else Path(self.data)

    @property
    def slice_ms(self) -> int:
        """Milliseconds of event time of what is sent together: some hundredths of a second of the wall clock."""
        return (
            _SLICE_MS * 10 if self.speed is None else max(_SLICE_MS, round(1000 * _TOGETHER_S * self.speed))
        )


class Place:
    """The folder of a replay: ``replay.json``, the event log in ``log/``, the online run in ``online/``."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.log = self.folder / "log"
        self.online = self.folder / "online"

    @property
    def there(self) -> bool:
        """Whether a replay was begun here."""
        return (self.folder / _TOLD).is_file()

    def begin(self, told: Told) -> None:
        """Make the folder; ConfigError if a replay was begun in it before."""
        if self.there:
            raise ConfigError(
                f"'{self.folder}' holds a replay; go on with it by --resume, or remove the folder to begin anew"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the folder '{self.folder}' cannot be made: {error.strerror}") from error
        write_json(self.folder / _TOLD, asdict(told))

    def told(self) -> Told:
        """What it was told when it was begun."""
        said = read_json(self.folder / _TOLD)
        return _told(said, self.folder / _TOLD)

    def change(self, told: Told) -> None:
        """Keep what it is told from now on."""
        write_json(self.folder / _TOLD, asdict(told))

    @classmethod
    def of(cls, run: str | Path) -> Self:
        """Where a run's replay lies unless told otherwise."""
        return cls(Path(run) / "replay")


def _told(said: dict[str, Any], path: Path) -> Told:
    known = {each.name for each in fields(Told)}
    if set(said) != known:
        raise StorageError(
            f"'{path}' was written by another version: it says {sorted(set(said) ^ known)}; replay anew"
        )
    return Told(**said)
