"""Which history of states a run folder is in: new at its start, after a rollback, and where states cannot be made again.

Knows one small file; knows nothing of states.
"""

import uuid
from pathlib import Path

from larix.embedding import TableSpec
from larix.train.run import read_json, write_json

_NAME = "history.json"


def current(folder: Path) -> str:
    """The history that the run in ``folder`` is in; "" before its start."""
    path = folder / _NAME
    return str(read_json(path)["history"]) if path.exists() else ""


def begin(folder: Path) -> str:
    """Begin another, durably, and return it."""
    history = uuid.uuid4().hex
    write_json(folder / _NAME, {"history": history})
    return history


def repeatable(specs: dict[str, TableSpec]) -> bool:
    """Whether a run that goes on from a checkpoint passes the states that it passed before.

    Which rows are evicted depends on where they lie in memory, and who is admitted on counts, and neither is in a checkpoint.
    """
    return all(spec.eviction is None and spec.admission is None for spec in specs.values())
