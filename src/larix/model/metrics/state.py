"""Metrics as arrays and JSON values, and back to the bit: for a checkpoint. Knows nothing of files or of training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larix.model.metrics.metrics import Metrics, Tally
from larix.model.metrics.tally import BinaryTally

Arrays = dict[str, NDArray[Any]]


def dump(metrics: Metrics) -> tuple[dict[str, Any], Arrays]:
    """All that ``metrics`` has seen. It is left as it is: sums go on in the order that they would have gone on in."""
    arrays: Arrays = {}
    users = metrics._users
    users.gather()
    scenes = {}
    for scene, tallies in metrics._scenes.items():
        scenes[str(scene)] = [_dump(tally, f"{scene}.{at}.", arrays) for at, tally in enumerate(tallies)]
    said = {
        "samples": metrics._samples,
        "left_out": sorted(metrics.scenes_left_out),
        "keys": metrics._keys,
        "total": [_dump(tally, f"total.{at}.", arrays) for at, tally in enumerate(metrics._total)],
        "scenes": scenes,
        "halvings": users.halvings,
    }
    arrays |= {"users.group": users.group, "users.scene": users.scene, "users.values": users.values}
    if metrics._buffer:
        groups, keys, values = zip(*metrics._buffer, strict=True)
        arrays["buffer.values"] = np.concatenate(values)
        arrays |= {"buffer.group": np.concatenate(groups)} if groups[0] is not None else {}
        arrays |= {"buffer.scene": np.concatenate(keys)} if keys[0] is not None else {}
    return said, arrays


def load(metrics: Metrics, said: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Have ``metrics``, new and with the tasks and bounds of those that were dumped, go on where they were."""
    arrays = {name: array.copy() for name, array in arrays.items()}  # those of a file cannot be written to
    metrics._samples = said["samples"]
    metrics.scenes_left_out = set(said["left_out"])
    metrics._keys = None if said["keys"] is None else (said["keys"][0], said["keys"][1])
    for at, (tally, one) in enumerate(zip(metrics._total, said["total"], strict=True)):
        _load(tally, one, f"total.{at}.", arrays)
    for scene, those in said["scenes"].items():
        tallies = metrics._scene(int(scene))
        assert tallies is not None
        for at, (tally, one) in enumerate(zip(tallies, those, strict=True)):
            _load(tally, one, f"{scene}.{at}.", arrays)
    users = metrics._users
    users.halvings = said["halvings"]
    users.group, users.scene = arrays["users.group"], arrays["users.scene"]
    users.values, users._size = arrays["users.values"], len(arrays["users.group"])
    if "buffer.values" in arrays:
        values = arrays["buffer.values"]
        metrics._buffer = [(arrays.get("buffer.group"), arrays.get("buffer.scene"), values)]
        metrics._buffered = len(values)


def _dump(tally: Tally, prefix: str, arrays: Arrays) -> dict[str, int]:
    arrays[prefix + "sums"] = tally.sums
    if not isinstance(tally, BinaryTally):
        return {"count": tally.count}
    sketch = tally.sketch
    arrays |= {prefix + "lo": sketch.lo, prefix + "level": sketch.level, prefix + "mass": sketch.mass}
    return {"count": tally.count, "positives": tally.positives}


def _load(tally: Tally, said: Mapping[str, int], prefix: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    tally.count = said["count"]
    tally.sums = arrays[prefix + "sums"]
    if isinstance(tally, BinaryTally):
        tally.positives = said["positives"]
        sketch = tally.sketch
        sketch.lo, sketch.level, sketch.mass = (arrays[prefix + name] for name in ("lo", "level", "mass"))
