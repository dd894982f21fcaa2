"""The topic that an online run publishes its changes to, written and read. Knows the log; knows nothing of training."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from larix.data.log import Consumer, EventLog, Offsets, Retention
from larix.embedding import Message, Snapshot, storage
from larix.errors import ConfigError, StorageError
from larix.train import version

_RETENTION = Retention(size_bytes=8 << 30)
_ROWS = 64  # messages of a poll, about; each may be a chunk long

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("history", pa.string()),
        ("first", pa.int64()),
        ("last", pa.int64()),
        ("marks", pa.list_(pa.uint64())),
        ("group", pa.string()),
        ("part", pa.int32()),
        ("parts", pa.int32()),
        ("version", pa.string()),
        ("after", pa.int64()),
        ("step", pa.int64()),
        ("event_ms", pa.int64()),
        ("time_ms", pa.int64()),
        ("payload", pa.binary()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deltas:
    """Where deltas go: the one partition of ``topic`` in ``log``, made if it is not there, with ``retention``.

    Payloads are cut into messages of ``chunk`` bytes: Kafka's own limit of a message is 1 MB. What is kept must reach
    further back than the time between two snapshots.
    """

    log: EventLog
    topic: str = "deltas"
    chunk: int = 768 << 10
    retention: Retention | None = _RETENTION

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ConfigError(f"Deltas.chunk is {self.chunk} bytes; it must be at least 1")


class DeltaWriter:
    """Appends messages; a group of parts is whole in the topic, or void."""

    def __init__(self, deltas: Deltas) -> None:
        if deltas.topic not in deltas.log.topics():
            deltas.log.create(deltas.topic, retention=deltas.retention)
        self._deltas = deltas
        self._life = uuid.uuid4().hex
        self._groups = 0

    def write(self, message: Message) -> Message:
        """Write a message in as many parts as it needs; return it as it was written, once all are durable.

        StorageError if the disk is full or fails: it is not there then, as far as readers are concerned.
        """
        log, chunk = self._deltas.log, self._deltas.chunk
        self._groups += 1
        parts = max(1, -(-len(message.payload) // chunk))
        message = replace(
            message, group=f"{self._life}-{self._groups}", parts=parts, time_ms=time.time_ns() // 1_000_000
        )
        view = memoryview(message.payload)
        for part in range(parts):
            piece = bytes(view[part * chunk : (part + 1) * chunk]) if parts > 1 else message.payload
            row = _row(replace(message, part=part, payload=piece))
            if parts == 1:
                log.append(self._deltas.topic, row)
            else:
                log.send(self._deltas.topic, row)
        log.flush()
        return message

    def end(self) -> int:
        """The offset of what is written next."""
        return self._deltas.log.newest(self._deltas.topic).next[0]


class DeltaReader:
    """Messages as they come, and the versions in ``versions`` that they name: what an ``embedding.DeltaFollower`` follows."""

    def __init__(self, deltas: Deltas, versions: Path) -> None:
        self._deltas = deltas
        self._versions = versions
        self._consumer: Consumer | None = None
        self._leaping = False  # whether the consumer goes past what is damaged or gone

    def poll(self, timeout_s: float) -> Sequence[Message]:
        """The next messages, if some come within the time; none before `seek`.

        StorageError names what is damaged or gone; the next call goes on behind it.
        """
        if self._consumer is None:
            return ()
        try:
            got = self._consumer.poll(timeout_s, max_rows=_ROWS)
        except StorageError:
            self._stand(self._consumer.position, leaping=True)
            raise
        if got and self._leaping:
            self._stand(self._consumer.position, leaping=False)
        return [message for each in got for message in _messages(each.rows, each.offset)]

    def newest(self) -> Message | None:
        """The newest snapshot or fence in the topic; all of it is read through."""
        log, topic = self._deltas.log, self._deltas.topic
        if topic not in log.topics():
            return None
        found = None
        with log.consumer(topic, partitions=[0], skip_lost=True) as consumer:
            for each in consumer.drain(max_rows=_ROWS):
                kinds = each.rows["kind"].to_pylist()
                for at in (at for at, kind in enumerate(kinds) if kind in ("snapshot", "fence")):
                    found = _message(each.rows.slice(at, 1), each.offset + at)
        return found

    def seek(self, message: Message) -> None:
        """Go on with what leads on from ``message``."""
        log, topic = self._deltas.log, self._deltas.topic
        following = message.offset + 1 if message.after < 0 else message.after
        self._stand(Offsets(log=log.id, topic=topic, next={0: following}), leaping=False)

    def snapshot(self, version: str) -> Snapshot:
        """The rows of a version that a message named."""
        return storage.read(self.version(version) / "tables")

    def version(self, name: str) -> Path:
        """The folder of a version that a message named; StorageError if it is not there any more."""
        path = self._versions / name
        if path not in version.versions(self._versions):
            there = ", ".join(each.name for each in version.versions(self._versions)) or "none"
            raise StorageError(f"version '{path}' is gone; there is {there}: wait for the next snapshot")
        return path

    def close(self) -> None:
        """Let go of the topic's files."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _stand(self, at: Offsets, *, leaping: bool) -> None:
        self.close()
        self._consumer = self._deltas.log.consumer(
            self._deltas.topic, start=at, partitions=[0], skip_lost=leaping
        )
        self._leaping = leaping


def _row(message: Message) -> pa.RecordBatch:
    values: dict[str, Any] = {name: getattr(message, name) for name in SCHEMA.names}
    values["marks"] = message.marks.tolist()
    return pa.RecordBatch.from_pylist([values], schema=SCHEMA)


def _messages(rows: pa.RecordBatch, offset: int) -> list[Message]:
    return [_message(rows.slice(at, 1), offset + at) for at in range(len(rows))]


def _message(row: pa.RecordBatch, offset: int) -> Message:
    values = row.select(SCHEMA.names).to_pylist()[0]
    return Message(**values | {"marks": np.array(values["marks"], np.uint64), "offset": offset})
