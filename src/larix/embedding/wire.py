"""Changes as bytes, for those who follow a store over a log or a network; and the messages that carry them.

Knows nothing of logs, networks or of who sends.
"""

import json
import math
import operator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats
from larix.embedding import check, manifest
from larix.embedding.changes import Changes, Touched
from larix.embedding.precision import Precision
from larix.embedding.snapshot import Instant
from larix.embedding.spec import TableSpec
from larix.errors import StorageError

Kind = Literal["rows", "dense", "snapshot", "fence"]

_MAGIC = b"LXC1"
_ALIGNED = 8
_WEIGHTS: dict[Precision, str] = {"fp32": "<f4", "bf16": "<u2", "fp16": "<f2"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Message:
    """What a follower is told, or a part of it.

    ``rows``: changes that lead from the state at ``first - 1`` to that at ``last``, in ``parts`` payloads that follow each
    other under one ``group``; parts of a group that was not ended are void. ``dense``: weights of the network at ``last``, as
    their writer has them. ``snapshot``: all is saved at ``last`` under the name ``version``; what leads on from
    there begins at the offset ``after``, for saving takes a while (-1: right behind the message). ``fence``: from here on states
    are those of ``history``, which begins with ``version`` at ``last``; whoever stands elsewhere loads that.

    ``history`` tells apart states of one sequence number. Where one history is trained twice, by a trainer that was
    killed and by the one that went on from a checkpoint, ``marks`` tell whether it came out the same: a number for each state
    from ``first - 1`` to ``last`` (of a rows message; of others for ``last`` alone), equal for equal states.
    """

    kind: Kind
    history: str
    last: int
    marks: NDArray[np.uint64]
    first: int = 0
    group: str = ""
    part: int = 0
    parts: int = 1
    version: str = ""
    payload: bytes = field(default=b"", repr=False)
    step: int = 0
    event_ms: int = 0
    time_ms: int = 0
    after: int = -1
    offset: int = -1

    def mark(self, sequence: int) -> int | None:
        """The mark of a state, if the message has it."""
        at = len(self.marks) - 1 - (self.last - sequence)
        return int(self.marks[at]) if 0 <= at < len(self.marks) else None


def to_bytes(changes: Changes, *, state: bool = False) -> bytes:
    """``changes`` under a checksum; ``state``: with optimizer state and what eviction keeps, which only trainers need.

    Weights take the bytes of their table's precision.
    """
    touched = {name: of for name, of in changes.tables.items() if len(of.ids) or len(of.removed)}
    header = {
        "first": changes.first,
        "instant": changes.instant.to_json(),
        "specs": [spec.to_json() for spec in changes.specs.values()],
        "state": state,
        "tables": {name: [len(of.ids), len(of.removed)] for name, of in touched.items()},
    }
    said = json.dumps(header).encode()
    said += b" " * (-(len(said) + 8) % _ALIGNED)
    parts: list[bytes] = [_MAGIC, len(said).to_bytes(4, "little"), said]
    for name, of in touched.items():
        arrays: list[NDArray[Any]] = [of.ids, _narrow(of.weights, changes.specs[name].precision), of.removed]
        if state:
            arrays += [of.state, of.seen, of.score]
        for array in arrays:
            raw = np.ascontiguousarray(array).tobytes()
            parts += [raw, bytes(-len(raw) % _ALIGNED)]
    content = b"".join(parts)
    return content + int(google_crc32c.value(content)).to_bytes(8, "little")


def from_bytes(raw: bytes) -> Changes:
    """What ``to_bytes`` was given; without state, ``state`` is of width 0, and ``seen`` and ``score`` are 0.

    StorageError if the bytes are damaged or of another format.
    """
    if raw[:4] != _MAGIC:
        raise StorageError(f"changes begin with {raw[:4]!r}, not with {_MAGIC!r}: another version wrote them")
    content, check = memoryview(raw)[:-8], int.from_bytes(raw[-8:], "little")
    if len(raw) < 16 or int(google_crc32c.value(bytes(content))) != check:
        raise StorageError(f"changes of {len(raw)} bytes are damaged: their checksum is another")
    with manifest.told_by(f"a message of changes, {len(raw)} bytes,"):
        return _parsed(content)


def _parsed(content: memoryview) -> Changes:
    at = 8 + int.from_bytes(content[4:8], "little")
    if at % _ALIGNED:
        raise ValueError(f"its header ends at {at}")
    header = json.loads(bytes(content[8:at]))
    specs = check.specs([TableSpec.from_json(given) for given in header["specs"]])
    first, instant = operator.index(header["first"]), Instant.from_json(header["instant"])
    if not (specs.keys() >= header["tables"].keys() and 1 <= first <= instant.sequence + 1):
        raise ValueError(f"it is of {sorted(header['tables'])}, from {first} to {instant.sequence}")

    def take(dtype: str, *shape: int) -> NDArray[Any]:
        nonlocal at
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if not 0 <= size <= len(content) - at:
            raise ValueError(f"{dtype} {list(shape)} is more than it holds")
        array = np.frombuffer(content[at : at + size], dtype).reshape(shape)
        at += size + -size % _ALIGNED
        return array

    tables = {}
    for name, spec in specs.items():
        rows, gone = map(operator.index, header["tables"].get(name, (0, 0)))
        ids = take("<i8", rows)
        weights = _wide(take(_WEIGHTS[spec.precision], rows, spec.dim), spec.precision)
        removed = take("<i8", gone)
        if header["state"]:
            state, seen, score = take("<f4", rows, spec.state), take("<u4", rows), take("<f4", rows)
        else:
            state, seen, score = np.zeros((rows, 0), "<f4"), np.zeros(rows, "<u4"), np.zeros(rows, "<f4")
        tables[name] = Touched(ids, weights, state, seen, score, removed)
    if at != len(content):
        raise ValueError(f"{len(content) - at} bytes are left over")
    return Changes(first=first, instant=instant, specs=specs, tables=tables)


def _narrow(weights: Floats, precision: Precision) -> NDArray[Any]:
    match precision:
        case "bf16":  # they have no more bits than that
            return (np.ascontiguousarray(weights).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        case "fp16":
            return weights.astype(np.float16)
    return weights


def _wide(weights: NDArray[Any], precision: Precision) -> Floats:
    if precision == "bf16":
        return (weights.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return cast(Floats, weights.astype(np.float32, copy=False))
