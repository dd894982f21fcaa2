"""What an online run has come to, as bytes to compare: versions, journals, and what followers hold."""

from larix.embedding import DeltaFollower, Replica, storage
from larix.train import checkpoint
from larix.train.online import Deltas, journal
from larix.train.online.deltas import DeltaReader


def state_of(folder):
    """Every weight, moment, row, generator and metric of the newest version."""
    found = checkpoint.load(folder / "versions")
    rows = rows_of(found.path)
    files = {
        name: content
        for name, content in found.files.items()
        if name.endswith(".safetensors") or name == "prequential.json"
    }
    plain = {key: found.state[key] for key in ("optimizer", "generators")}
    online = found.state["history"]["online"]
    same = {key: online[key] for key in ("mark", "event_ms", "skipped", "drift")}
    same["partitions"] = online["samples"].get("partitions") or [
        each["next"] for each in online["samples"]["offsets"]
    ]
    return found.point.step, found.point.samples, plain, files, same, rows


def rows_of(version):
    """Rows by table and id, with all that they hold."""
    pieces = list(storage.read(version / "tables"))
    rows = {
        (piece.table, one): tuple(array[at].tobytes() for array in piece[2:])
        for piece in pieces
        for at, one in enumerate(piece.ids.tolist())
    }
    assert len(rows) == sum(len(piece.ids) for piece in pieces) > 0
    return rows


def weights_of(version):
    """The weights alone."""
    return {key: row[0] for key, row in rows_of(version).items()}


def held_by(replica: Replica):
    """Weights by table and id of what a follower keeps."""
    found = {}
    for table in replica.specs:
        keys = replica.keys(table)
        found |= {
            (table, one): row.tobytes()
            for one, row in zip(keys.tolist(), replica.lookup(table, keys), strict=True)
        }
    return found


def windows_of(folder):
    """The journal's windows."""
    return [line for line in journal.read(folder / "online.jsonl") if line["kind"] == "window"]


def follower_of(log, folder, topic="deltas"):
    """A follower of the run in ``folder``, rows alone."""
    specs = storage.read(newest(folder) / "tables").specs
    reader = DeltaReader(Deltas(log=log, topic=topic), folder / "versions")
    return DeltaFollower(Replica(list(specs.values())), reader)


def newest(folder):
    return checkpoint.load(folder / "versions").path


def same_rows(replica, folder):
    return held_by(replica) == weights_of(newest(folder))
