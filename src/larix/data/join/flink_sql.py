"""A join's declaration as a script of Flink SQL. Knows no JVM: `flink.py` runs scripts, `docs/flink.md` explains them.

Whether an event is late or a copy follows from the order of its partition alone, so samples depend on nothing else: the
watermark only decides when they come out.
"""

import math
from collections.abc import Mapping

import pyarrow as pa

from larix.data.join.flink_columns import literal, quoted, sortable, type_of
from larix.data.join.flink_sides import Side, sides_of
from larix.data.join.flink_tables import Files, Kafka, with_clause
from larix.data.join.spec import IMPRESSION, RATE, READY, Clicked, Form, JoinSpec, Total
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
        spec: what to join; ``emit`` must be ``end``.
        schemas: the columns of each topic that is read. What is not among them is not carried.
        source: where topics are read.
        sink: where samples and dropped events are written.
        samples: the topic of samples.
        dropped: the topic of events that were dropped, a row each, with the reason.
        checkpoint_s: how often state is saved; in Kafka samples are seen when a checkpoint is complete.

    Raises:
        ConfigError: a column is missing or of another type, or the spec has what the job cannot do.
    """
    if spec.emit != "end":
        raise ConfigError(
            "a Flink job emits at the window's end; for emit='at_once' take the embedded joiner"
        )
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
        _labelled(spec),
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
        "-- How long event ids, and what is newest in a silent partition, are remembered by the wall clock.",
        "-- All other state goes by event time.",
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


def _labelled(spec: JoinSpec) -> str:
    parts = [part for name, form in spec.labels.items() for part in _gathered(spec, name, form)]
    formed = [f"{_formed(spec, name, form)} AS {quoted(name)}" for name, form in spec.labels.items()]
    gathered = ",\n".join(f"  {expression} OVER `since` AS {quoted(name)}" for name, expression in parts)
    return (
        "-- An impression's row is due when its window has passed, an action's at its time: looking back from the due\n"
        "-- time by the window, an impression sees exactly its own actions. Rows are taken in order of due time.\n"
        "CREATE TEMPORARY VIEW `gathered` AS\n"
        f"SELECT `kind`, `k`, `id`, `at`, `shown`,\n{gathered}\nFROM `accepted`\n"
        "WINDOW `since` AS (\n  PARTITION BY `k` ORDER BY `due`\n"
        f"  RANGE BETWEEN {_interval(spec.window_ms)} PRECEDING AND CURRENT ROW\n);\n\n"
        "CREATE TEMPORARY VIEW `labelled` AS\n"
        "SELECT `k`, `id`, `at`, `shown`,\n  " + ",\n  ".join(formed) + "\n"
        f"FROM `gathered` WHERE `kind` = {literal(IMPRESSION)};"
    )


def _gathered(spec: JoinSpec, label: str, form: Form) -> list[tuple[str, str]]:
    """What is counted or summed for a label: names and aggregates."""
    if isinstance(form, Clicked):
        return [(label, f"COUNT(CASE WHEN `kind` = {literal(form.action)} THEN 1 END)")]
    if isinstance(form, Total):
        return [(label, f"SUM(CASE WHEN `kind` = {literal(form.action)} THEN `amount` END)")]
    last = f"LPAD(CAST(`at` AS STRING), 19, '0') || {sortable('`id`', spec.ids)}"
    return [
        (f"{label} {way}", f"MAX(CASE WHEN `kind` = {literal(action)} THEN {last} END)")
        for way, action in (("on", form.on), ("off", form.off))
    ]


def _formed(spec: JoinSpec, label: str, form: Form) -> str:
    """A label's value, a DOUBLE."""
    if isinstance(form, Clicked):
        return f"CASE WHEN {quoted(label)} > 0 THEN 1e0 ELSE 0e0 END"
    if isinstance(form, Total):
        return f"COALESCE({quoted(label)}, 0e0)"
    # Of two at one time with one id, the one whose action is declared later is the last.
    order = [*spec.kinds]
    over = ">=" if order.index(form.on) > order.index(form.off) else ">"
    on, off = quoted(f"{label} on"), quoted(f"{label} off")
    return f"CASE WHEN {on} IS NOT NULL AND ({off} IS NULL OR {on} {over} {off}) THEN 1e0 ELSE 0e0 END"


def _samples_table(spec: JoinSpec, carried: pa.Schema, clause: str) -> str:
    columns = [f"{quoted(name)} {kind}" for name, kind, _ in _columns(spec, carried)]
    return "CREATE TEMPORARY TABLE `samples` (\n  " + ",\n  ".join(columns) + f"\n) {clause};"


def _columns(spec: JoinSpec, carried: pa.Schema) -> list[tuple[str, str, str]]:
    """Name, type and expression of the columns of a sample."""
    plain = {"int64": "BIGINT", "string": "STRING"}
    ours = spec.impressions
    own = {
        ours.key: (plain[spec.keys], "`k`"),
        ours.time: ("BIGINT", "`at`"),
        ours.event_id: (plain[spec.ids], "`id`"),
    }
    made = {name: ("FLOAT", f"CAST({quoted(name)} AS FLOAT)") for name in spec.labels}
    made |= {READY: ("BIGINT", f"`at` + {spec.window_ms}")}
    if spec.negatives is not None:
        negative = f"{quoted(spec.negatives.label)} = 0e0"
        made[RATE] = ("FLOAT", f"CAST(CASE WHEN {negative} THEN {spec.negatives.rate!r} ELSE 1 END AS FLOAT)")
    features = {
        field.name: (type_of(field.name, field.type), f"`labelled`.`shown`.{quoted(field.name)}")
        for field in carried
        if field.name not in own
    }
    return [(name, *each) for name, each in (own | features | made).items()]


def _dropped_table(clause: str) -> str:
    return (
        "CREATE TEMPORARY TABLE `dropped` (\n"
        "  `topic` STRING, `partition` INT, `kind` STRING,\n"
        "  `reason` STRING, -- null, future, late or duplicate\n"
        f"  `key` STRING, `event_id` STRING, `time_ms` BIGINT\n) {clause};"
    )


def _inserts(spec: JoinSpec, carried: pa.Schema) -> str:
    columns = ",\n  ".join(expression for _, _, expression in _columns(spec, carried))
    told = "SELECT `topic`, `part`, `kind`, {}, CAST(`k` AS STRING), CAST(`id` AS STRING), `at`"
    return (
        "EXECUTE STATEMENT SET BEGIN\n"
        f"INSERT INTO `samples` SELECT\n  {columns}\nFROM `labelled`{_kept(spec)};\n\n"
        f"INSERT INTO `dropped`\n{told.format('`fault`')}\nFROM `judged` WHERE `fault` IS NOT NULL\n"
        f"UNION ALL\n{told.format(literal('duplicate'))}\nFROM `told_apart` WHERE `before` >= `oldest`;\nEND;"
    )


def _kept(spec: JoinSpec) -> str:
    """Which samples stay: those that are not negative, and of the others a share by their key's digest."""
    few = spec.negatives
    limit = math.ceil(few.limit) if few else 1 << 32
    if few is None or limit >= 1 << 32:
        return ""
    digest = f"SUBSTRING(MD5({literal(f'{few.seed}:')} || CAST(`k` AS STRING)), 1, 8)"
    return f"\nWHERE {quoted(few.label)} <> 0e0 OR {digest} < '{limit:08x}'"


def _interval(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    days, seconds = divmod(seconds, 86_400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"
    return f"INTERVAL '{days} {clock}' DAY(3) TO SECOND(3)"
