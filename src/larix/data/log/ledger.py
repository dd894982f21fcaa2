"""The log's small facts, in SQLite (WAL): its topics, and how far each group of consumers has come.

Knows nothing of segments. Several processes use it at once.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from larix.data.log.retention import Retention
from larix.errors import StorageError

_TABLES = """
CREATE TABLE IF NOT EXISTS topics (
    name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, age_s REAL, size_bytes INTEGER
);
CREATE TABLE IF NOT EXISTS offsets (
    consumers TEXT, topic TEXT, partition INTEGER, next INTEGER NOT NULL,
    PRIMARY KEY (consumers, topic, partition)
);
"""
_PATIENCE_S = 30.0  # for another process's transaction to end
_PAUSE_S = 0.005


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic as it was created."""

    partitions: int
    retention: Retention


class Ledger:
    """The file ``path``, made if it is not there. Threads may share it; a child of a fork opens it anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._open()
        with self._transaction() as run:
            for statement in _TABLES.split(";")[:-1]:
                run.execute(statement)

    def topics(self) -> dict[str, Topic]:
        """All topics by name."""
        with self._transaction() as run:
            rows = run.execute(
                "SELECT name, partitions, age_s, size_bytes FROM topics ORDER BY name"
            ).fetchall()
        return {
            name: Topic(partitions=partitions, retention=Retention(age_s=age, size_bytes=size))
            for name, partitions, age, size in rows
        }

    def put_topic(self, name: str, partitions: int, retention: Retention | None) -> Topic:
        """Keep a topic, and return it as it is kept: one that is there keeps its partitions, and its retention for None."""
        values = (name, partitions, *((None, None) if retention is None else _limits(retention)))
        with self._transaction() as run:
            run.execute("INSERT OR IGNORE INTO topics VALUES (?, ?, ?, ?)", values)
            if retention is not None:
                change = "UPDATE topics SET age_s = ?, size_bytes = ? WHERE name = ?"
                run.execute(change, (*_limits(retention), name))
        return self.topics()[name]

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The next offset by partition, as last committed; empty if never."""
        with self._transaction() as run:
            rows = run.execute(
                "SELECT partition, next FROM offsets WHERE consumers = ? AND topic = ? ORDER BY partition",
                (group, topic),
            ).fetchall()
        return dict(rows)

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Keep the next offset of each partition; durable on return."""
        with self._transaction() as run:
            run.executemany(
                "INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?)",
                [(group, topic, partition, offset) for partition, offset in offsets.items()],
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _open(self) -> None:
        until = monotonic() + _PATIENCE_S
        while True:
            try:
                self._connection = sqlite3.connect(
                    self._path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
                )
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                break
            except sqlite3.Error as error:
                # SQLite does not wait for others by itself where the first of them turns a new file to WAL.
                if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_BUSY or monotonic() > until:
                    raise StorageError(
                        f"'{self._path}' cannot be opened: {error}; is the log whole?"
                    ) from error
                self._connection.close()
                sleep(_PAUSE_S)
        self._pid = os.getpid()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._pid != os.getpid():
                self._inherited = self._connection  # the parent's: neither to be used here nor to be closed
                self._open()
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise StorageError(
                    f"'{self._path}' cannot be read or written: {error}; free some space or restore it"
                ) from error


def _limits(retention: Retention) -> tuple[float | None, int | None]:
    return retention.age_s, retention.size_bytes
