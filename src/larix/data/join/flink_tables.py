"""Where a Flink job's events come from and its samples go: Kafka, or files of JSON lines. Knows no join.

Both give the same columns; what differs is the WITH clause, and where partition and append time are found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from larix.data.join.flink_columns import literal, quoted
from larix.errors import ConfigError

PARTITION, APPENDED = "_partition", "_appended"


class Part(NamedTuple):
    """One table of a topic: what its name ends in, its own columns, how they are read, and its WITH clause."""

    suffix: str
    columns: Mapping[str, str]  # name -> declaration
    partition: str | None  # an expression; None: the column `_partition`
    appended: str  # an expression: when the event was appended, a TIMESTAMP_LTZ(3)
    options: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Kafka:
    """Topics of the brokers ``servers``, one JSON object (or an array of them) a message.

    ``options`` go into every WITH clause and win over ours: ``properties.security.protocol``, ``scan.startup.mode``.
    Needs the jar of Flink's Kafka connector, which ``larix[flink]`` does not have.
    """

    servers: str
    group: str = "larix-join"
    options: Mapping[str, str] = field(default_factory=dict)

    def parts(self, topic: str) -> list[Part]:
        """One table: Flink reads all partitions, each in order, and holds a watermark for each."""
        columns = {
            PARTITION: "INT METADATA FROM 'partition' VIRTUAL",
            APPENDED: "TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL",
        }
        options = {
            "connector": "kafka",
            "topic": topic,
            "properties.bootstrap.servers": self.servers,
            "properties.group.id": self.group,
            "scan.startup.mode": "earliest-offset",  # of the first start: a restart goes on from its state
            **_json(reading=True),
        }
        return [Part("", columns, None, f"`{APPENDED}`", options | dict(self.options))]

    def sink(self, topic: str) -> dict[str, str]:
        """The WITH clause of a topic that is written: exactly once, so it is seen at each checkpoint."""
        options = {
            "connector": "kafka",
            "topic": topic,
            "properties.bootstrap.servers": self.servers,
            "sink.delivery-guarantee": "exactly-once",
            "sink.transactional-id-prefix": f"{self.group}-{topic}",
            "properties.transaction.timeout.ms": "900000",
            **_json(reading=False),
        }
        return options | {name: value for name, value in self.options.items() if not name.startswith("scan.")}


@dataclass(frozen=True, kw_only=True)
class Files:
    """A bounded input: ``FOLDER/TOPIC-PARTITION.json``, one JSON object a line, in the order of the offsets.

    ``appended`` is the column of when an event was appended, in milliseconds. Samples go to files in ``FOLDER/TOPIC/``.
    A table a file: a file is read in order, and the watermark is that of the file that is furthest behind.
    """

    folder: Path | str
    partitions: Mapping[str, int] = field(default_factory=dict)
    appended: str = "append_ms"

    def parts(self, topic: str) -> list[Part]:
        """A table for each partition."""
        if topic not in self.partitions:
            raise ConfigError(
                f"how many partitions topic '{topic}' has is not said; give Files(partitions={{'{topic}': N}})"
            )
        appended = f"TO_TIMESTAMP_LTZ({quoted(self.appended)}, 3)"
        return [
            Part(
                f"_{each}",
                {self.appended: "BIGINT"},
                str(each),
                appended,
                self._options(f"{topic}-{each}.json") | _json(reading=True),
            )
            for each in range(self.partitions[topic])
        ]

    def sink(self, topic: str) -> dict[str, str]:
        """The WITH clause of a folder that is written."""
        return self._options(topic) | _json(reading=False)

    def _options(self, name: str) -> dict[str, str]:
        return {"connector": "filesystem", "path": (Path(self.folder).absolute() / name).as_uri()}


def _json(*, reading: bool) -> dict[str, str]:
    # A value that is not of its column's type is null, as it is to the embedded joiner.
    return {"format": "json"} | ({"json.ignore-parse-errors": "true"} if reading else {})


def with_clause(options: Mapping[str, str]) -> str:
    """Options of a table, as SQL has them."""
    return (
        "WITH (\n"
        + ",\n".join(f"  {literal(name)} = {literal(value)}" for name, value in options.items())
        + "\n)"
    )
