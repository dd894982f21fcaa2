"""A join's declaration as a script of Flink SQL. Knows no JVM: `flink.py` runs scripts, `docs/flink.md` explains them.

Whether an event is late or a copy follows from the order of its partition alone, so samples depend on nothing else: the
watermark only decides when they come out.
"""

import math
from collections.abc import Mapping, Sequence

import pyarrow as pa

from larix.data.join.flink_columns import literal, quoted, row_of, type_of
from larix.data.join.flink_labels import at_the_end, corrections, label
from larix.data.join.flink_sides import Side, sides_of
from larix.data.join.flink_tables import Files, Kafka, with_clause
from larix.data.join.spec import CORRECTION, IMPRESSION, RATE, READY, JoinSpec
from larix.errors import ConfigError

SHORTEST_MEMORY_MS = 600_000  # of event ids, by the wall clock
LONGEST_WINDOW_MS = 999 * 86_400_000  # days have three digits in an interval


def sql(
    spec: JoinSpec,
    schemas: Mapping[str, pa.Schema],
    *,
    source: Kafka | Files,
    sink: Kafka | Files,
    samples: str = "samples",
    dropped: str = "dropped",
    checkpoint_s: float = 10,
) -> str:
    """The job that joins as ``spec`` says: a script for Flink's SQL client, or for `flink.run`.

    Args:
        spec: what to join.
        schemas: the columns of each topic that is read. What is not among them is not carried.
        source: where topics are read.
        sink: where samples and dropped events are written.
        samples: the topic of samples.
        dropped: the topic of events that were dropped, a row each, with the reason.
        checkpoint_s: how often state is saved; in Kafka samples are seen when a checkpoint is complete.

    Raises:
        ConfigError: a column is missing or of another type, or the spec has what the job cannot do.
    """
    if spec.window_ms > LONGEST_WINDOW_MS:
        raise ConfigError(f"window_s={spec.window_s!r}; Flink SQL looks back 999 days at most")
    if not 0 < checkpoint_s < 86_400:
        raise ConfigError(f"checkpoint_s={checkpoint_s!r}; it is a number of seconds above 0, at most a day")
    sides = sides_of(spec, schemas, source)
    carried = sides[0].carried()
    parts = [
        _settings(spec, checkpoint_s),
        *(part for side in sides for part in side.statements()),
        _judged(sides),
        _told_apart(),
        at_the_end(spec) if spec.emit == "end" else corrections(spec, row_of(carried)),
        _samples_table(spec, carried, with_clause(sink.sink(samples))),
        _dropped_table(with_clause(sink.sink(dropped))),
        _inserts(spec, carried),
    ]
    return "\n\n".join(parts) + "\n"


def _settings(spec: JoinSpec, checkpoint_s: float) -> str:
    memory = max(spec.window_ms + spec.lateness_ms, SHORTEST_MEMORY_MS)
    lines = [
        "-- Impressions and actions become samples. Compiled from a JoinSpec; docs/flink.md explains each part.",
        "SET 'pipeline.name' = 'larix join';",
        "SET 'execution.runtime-mode' = 'streaming';",
        "SET 'pipeline.object-reuse' = 'true';",
        "SET 'table.local-time-zone' = 'UTC';",
        f"SET 'execution.checkpointing.interval' = '{round(checkpoint_s * 1000)} ms';",
        "-- How long event ids, what is newest in a silent partition and (at once) an impression's labels so far are",
        "-- remembered by the wall clock. All other state goes by event time.",
        f"SET 'table.exec.state.ttl' = '{memory} ms';",
    ]
    if spec.idle_s is not None:
        lines += [
            "-- A partition without events for so long holds nobody back.",
            f"SET 'table.exec.source.idle-timeout' = '{round(spec.idle_s * 1000)} ms';",
        ]
    return "\n".join(lines)


def _judged(sides: list[Side]) -> str:
    kinds = [select for side in sides for select in side.kinds()]
    return (
        "-- Every event of a kind, and what is wrong with it.\n"
        "CREATE TEMPORARY VIEW `judged` AS\n" + "\nUNION ALL\n".join(kinds) + ";"
    )


def _told_apart() -> str:
    return """-- A copy is an event whose id was seen, in an event that would not be late by now.
CREATE TEMPORARY VIEW `told_apart` AS
SELECT *, LAG(`at`) OVER (PARTITION BY `kind`, `id` ORDER BY `arrived`) AS `before`
FROM `judged` WHERE `fault` IS NULL;

CREATE TEMPORARY VIEW `accepted` AS
SELECT * FROM `told_apart` WHERE `before` IS NULL OR `before` < `oldest`;"""


_MADE = {RATE: "FLOAT", CORRECTION: "BOOLEAN", READY: "BIGINT"}  # and labels, which are FLOAT


def _samples_table(spec: JoinSpec, carried: pa.Schema, clause: str) -> str:
    types = {name: kind for name, (kind, _) in _carried(spec, carried).items()}
    types |= {name: _MADE.get(name, "FLOAT") for name in spec.made}
    columns = [f"{quoted(name)} {kind}" for name, kind in types.items()]
    return "CREATE TEMPORARY TABLE `samples` (\n  " + ",\n  ".join(columns) + f"\n) {clause};"


def _carried(spec: JoinSpec, carried: pa.Schema) -> dict[str, tuple[str, str]]:
    """The columns of impressions: type and expression, by name."""
    plain = {"int64": "BIGINT", "string": "STRING"}
    ours = spec.impressions
    own = {
        ours.key: (plain[spec.keys], "`k`"),
        ours.time: ("BIGINT", "`at`"),
        ours.event_id: (plain[spec.ids], "`id`"),
    }
    features = {
        field.name: (type_of(field.name, field.type), f"`s`.`shown`.{quoted(field.name)}")
        for field in carried
        if field.name not in own
    }
    return own | features


def _dropped_table(clause: str) -> str:
    return (
        "CREATE TEMPORARY TABLE `dropped` (\n"
        "  `topic` STRING, `partition` INT, `kind` STRING,\n"
        "  `reason` STRING, -- null, future, late or duplicate\n"
        f"  `key` STRING, `event_id` STRING, `time_ms` BIGINT\n) {clause};"
    )


def _inserts(spec: JoinSpec, carried: pa.Schema) -> str:
    told = "SELECT `topic`, `part`, `kind`, {}, CAST(`k` AS STRING), CAST(`id` AS STRING), `at`"
    return (
        "EXECUTE STATEMENT SET BEGIN\n"
        f"INSERT INTO `samples`\n{_samples(spec, carried)};\n\n"
        f"INSERT INTO `dropped`\n{told.format('`fault`')}\nFROM `judged` WHERE `fault` IS NOT NULL\n"
        f"UNION ALL\n{told.format(literal('duplicate'))}\nFROM `told_apart` WHERE `before` >= `oldest`;\nEND;"
    )


def _samples(spec: JoinSpec, carried: pa.Schema) -> str:
    """The query whose rows are the samples."""
    labels = {name: f"CAST({label(name)} AS FLOAT)" for name in spec.labels}
    if spec.emit == "end":
        ready, negative, rate = f"`at` + {spec.window_ms}", None, "1"
        if spec.negatives is not None:
            negative = f"{label(spec.negatives.label)} = 0e0"
            rate = f"CASE WHEN {negative} THEN {spec.negatives.rate!r} ELSE 1 END"
        made = labels | {RATE: f"CAST({rate} AS FLOAT)", READY: ready}
        return _chosen(spec, carried, made, "labelled", [f"NOT {negative} OR {few}" for few in _few(spec)])
    rate = "1" if spec.negatives is None else repr(spec.negatives.rate)
    first = dict.fromkeys(spec.labels, "CAST(0 AS FLOAT)")
    first |= {RATE: f"CAST({rate} AS FLOAT)", CORRECTION: "FALSE", READY: "`at`"}
    later = labels | {RATE: "CAST(1 AS FLOAT)", CORRECTION: "TRUE", READY: "`ready`"}
    return (
        _chosen(spec, carried, first, "accepted", [f"`kind` = {literal(IMPRESSION)}", *_few(spec)])
        + "\nUNION ALL\n"
        + _chosen(spec, carried, later, "corrected", [])
    )


def _chosen(
    spec: JoinSpec, carried: pa.Schema, made: Mapping[str, str], view: str, where: Sequence[str]
) -> str:
    expressions = [expression for _, expression in _carried(spec, carried).values()]
    expressions += [made[name] for name in spec.made]
    return (
        "SELECT\n  "
        + ",\n  ".join(expressions)
        + f"\nFROM {quoted(view)} AS `s`"
        + ("\nWHERE " + " AND ".join(where) if where else "")
    )


def _few(spec: JoinSpec) -> list[str]:
    """The condition, if there is one, by which a negative sample stays: a share of them does, by their key's digest."""
    few = spec.negatives
    limit = math.ceil(few.limit) if few else 1 << 32
    if few is None or limit >= 1 << 32:
        return []
    digest = f"SUBSTRING(MD5({literal(f'{few.seed}:')} || CAST(`k` AS STRING)), 1, 8)"
    return [f"{digest} < '{limit:08x}'"]
