"""Back to an older version: what came after is put aside, and followers are told to load the version, too.

Knows run folders and the topic of deltas; knows nothing of training.
"""

from pathlib import Path

from larix.data.log import Lease
from larix.embedding import storage
from larix.errors import ConfigError, StorageError
from larix.train import checkpoint, version
from larix.train.online import history
from larix.train.online.deltas import Deltas, DeltaWriter
from larix.train.online.publisher import named
from larix.train.online.versions import State, Written


def rollback(folder: str | Path, to: str, *, deltas: Deltas | None = None) -> Path:
    """Have the online run in ``folder`` go on from its version ``to``; return that version's path.

    Newer versions move to ``rolled-back/`` beside ``versions/``. With ``deltas``, followers that are running load ``to`` at once;
    otherwise they do when the run goes on. The samples trained on since then will be trained on again.

    Raises:
        ConfigError: there is no such version. LeaseError: the run is being trained; stop it first.
        StorageError: the version is damaged, or the disk is full: nothing is changed, or the same call goes on with it.
    """
    folder = Path(folder)
    there = version.versions(folder / "versions")
    if to not in (each.name for each in there):
        names = ", ".join(each.name for each in there) or "none"
        raise ConfigError(f"'{folder}' has no version '{to}'; it has {names}")
    with Lease(folder / "lease", f"the run '{folder}'"):
        path = folder / "versions" / to
        found = checkpoint.read(path)
        if "online" not in found.state["history"]:
            raise ConfigError(f"'{path}' is not of an online run")
        instant = storage.read(path / "tables").instant
        fresh = history.begin(folder)
        try:
            for newer in (each for each in there if each.name > to):
                aside = folder / "rolled-back" / f"{newer.name}-{fresh[:8]}"
                aside.parent.mkdir(exist_ok=True)
                newer.rename(aside)
        except OSError as error:
            raise StorageError(f"'{newer}' cannot be put aside: {error.strerror}") from error
        said = found.state["history"]["online"]
        if deltas is not None:
            state = State(
                step=found.point.step,
                sequence=instant.sequence,
                mark=said["mark"],
                event_ms=said["event_ms"],
                held=False,
            )
            written = Written(path=path, state=state, seconds=0.0)
            DeltaWriter(deltas).write(named(written, fresh, fence=True))
    return path
