"""Which rows a replica holds whole in memory if not all: the settings, and what came of them. Knows nothing of lookups."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from larix.batch import Floats
from larix.embedding import budget
from larix.embedding.quantize import Format, decode, encode
from larix.errors import ConfigError

Cold = Literal["int8", "disk"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """Rows on two levels: those used most are hot, the others cold.

    ``hot_bytes``: what the weights of hot rows may take, as a number or such as "2GiB". ``folder``: where files of
    cold rows go; they have no names there and are gone with the process. ``cold``: how a cold row is read:

    - "int8": from memory, as int8. No lookup ever waits for the disk; it is there for the day the row becomes hot.
    - "disk": from disk, as it is: lookups of cold rows take longer and give the same as those of hot ones.

    What a row reads as is a function of its weights and of its level alone: see ``shown``.
    """

    hot_bytes: int | str
    folder: str | Path
    cold: Cold = "int8"

    def __post_init__(self) -> None:
        if self.cold not in get_args(Cold):
            raise ConfigError(f"cold is {self.cold!r}; it must be one of {list(get_args(Cold))}")
        budget.parse(self.hot_bytes, "hot_bytes")
        if Path(self.folder).exists() and not Path(self.folder).is_dir():
            raise ConfigError(
                f"folder is '{self.folder}', which is a file; give a folder for files of cold rows"
            )

    @property
    def bytes(self) -> int:
        """``hot_bytes`` as a number."""
        size = budget.parse(self.hot_bytes)
        assert size is not None
        return size

    def check(self, precision: Format) -> None:
        """ConfigError unless two levels make sense of rows in this precision."""
        if self.cold == "int8" and precision == "int8":
            raise ConfigError(
                "cold rows would be int8, as hot ones are; give cold='disk' or a higher precision"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelStats:
    """What a replica with levels holds and has done.

    ``hot_rows`` and ``hot_bytes`` (of their weights); ``cold_rows``, and ``disk_bytes`` of all that were ever cold.
    ``hot_hits`` and ``cold_hits``: lookups by id, repeats included. ``promoted`` and ``demoted``: rows ever moved.
    """

    hot_rows: int
    hot_bytes: int
    cold_rows: int
    disk_bytes: int
    hot_hits: int
    cold_hits: int
    promoted: int
    demoted: int

    @property
    def hit_rate(self) -> float:
        """The share of lookups of a row that found it hot; 0 before the first."""
        return self.hot_hits / max(1, self.hot_hits + self.cold_hits)


def shown(precision: Format, cold: Cold, weights: Floats, hot: bool) -> Floats:
    """Return what rows put with ``weights`` float32 ``[n, dim]`` read as: the oracle of native/replica_shelf.hpp.

    Weights are rounded to ``precision`` first; a cold row under "int8" then to int8 (see ``quantize.encode``).
    """
    dim = weights.shape[1]
    whole = decode(precision, encode(precision, weights), dim)
    return whole if hot or cold == "disk" else decode("int8", encode("int8", whole), dim)
