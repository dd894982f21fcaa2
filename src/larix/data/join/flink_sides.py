"""A topic as a Flink job reads it, for its impressions or for its actions: tables, order, and each event's fault.

A topic that holds both is read twice, for the rows of each side have a time of their own. Knows no label.
"""

from collections.abc import Mapping

import pyarrow as pa

from larix.data.join.flink_columns import equals, literal, number, quoted, row_of, type_of, whole
from larix.data.join.flink_tables import APPENDED, PARTITION, Files, Kafka, Part, with_clause
from larix.data.join.spec import IMPRESSION, Action, Impressions, JoinSpec
from larix.errors import ConfigError

TIME, DUE, ARRIVED, OLDEST = "_time", "_due", "_arrived", "_oldest"
OURS = (PARTITION, APPENDED, TIME, DUE, ARRIVED, OLDEST)  # the job's own columns, beside those of events
LATEST_MS = 1 << 46  # as to the oracle: times from here on, and before 0, are taken for unreadable


class Side:
    """One topic's impressions, or its actions.

    Args:
        spec: the join.
        topic: which.
        schema: the columns of the topic that are read.
        parts: the tables that the topic is.
        impressions: which side.
        carried: what samples carry.
    """

    def __init__(
        self,
        spec: JoinSpec,
        topic: str,
        schema: pa.Schema,
        parts: list[Part],
        carried: pa.Schema,
        *,
        impressions: bool,
    ) -> None:
        self._spec, self._topic, self._schema, self._parts = spec, topic, schema, parts
        self._carried, self._impressions = carried, impressions
        self._name = f"{'impressions' if impressions else 'actions'}_in_{topic}"
        self._at = whole(schema, spec.topics[topic], "int64")

    def carried(self) -> pa.Schema:
        """The columns of impressions."""
        return self._carried

    def statements(self) -> list[str]:
        """The tables, and the view of their rows in order."""
        return [*map(self._table, self._parts), self._in_order()]

    def kinds(self) -> list[str]:
        """A query for each kind: its events, and the fault of each that has one."""
        ours = {
            name: kind
            for name, kind in self._spec.kinds.items()
            if kind.topic == self._topic and (name == IMPRESSION) == self._impressions
        }
        return [self._kind(name, kind) for name, kind in ours.items()]

    def _valid(self, part: Part) -> str:
        """Whether the event's time counts."""
        valid = f"{self._at} BETWEEN 0 AND {LATEST_MS - 1}"
        if self._spec.ahead_ms is not None:
            valid += f" AND TO_TIMESTAMP_LTZ({self._at} - {self._spec.ahead_ms}, 3) <= {part.appended}"
        return valid

    def _table(self, part: Part) -> str:
        columns = {field.name: type_of(field.name, field.type) for field in self._schema} | dict(part.columns)
        due, when = self._at, "the same"
        if self._impressions and self._spec.emit == "end":
            due, when = f"{self._at} + {self._spec.window_ms}", "when its window has passed"
        valid = self._valid(part)
        lines = [
            *(f"  {quoted(name)} {kind}," for name, kind in columns.items()),
            "  -- when it happened: null, if that is no time or in the future",
            f"  {quoted(TIME)} AS CASE WHEN {valid}\n    THEN {self._at} END,",
            f"  -- {when}, as the time attribute, which is never null",
            f"  {quoted(DUE)} AS CASE WHEN {valid}",
            f"    THEN TO_TIMESTAMP_LTZ({due}, 3) ELSE TO_TIMESTAMP_LTZ(0, 3) END,",
            f"  {quoted(ARRIVED)} AS PROCTIME(),",
            "  -- an event at newest - lateness is on time, one before it is not",
            f"  WATERMARK FOR {quoted(DUE)}",
            f"    AS TO_TIMESTAMP_LTZ({quoted(TIME)} - {self._spec.lateness_ms + 1}, 3)",
        ]
        clause = with_clause(part.options)
        return (
            f"CREATE TEMPORARY TABLE {quoted(self._name + part.suffix)} (\n"
            + "\n".join(lines)
            + f"\n) {clause};"
        )

    def _in_order(self) -> str:
        tables = []
        for part in self._parts:
            more = "" if part.partition is None else f", {part.partition} AS {quoted(PARTITION)}"
            tables.append(f"SELECT *{more} FROM {quoted(self._name + part.suffix)}")
        rows = "\n  UNION ALL ".join(tables)
        return (
            "-- What is older is late. A partition's rows come in order of their offsets, through one channel to one\n"
            "-- task, so this is the same at any parallelism, and again after a restart.\n"
            f"CREATE TEMPORARY VIEW {quoted(self._name + '_in_order')} AS\n"
            f"SELECT *, MAX({quoted(TIME)}) OVER (\n"
            f"  PARTITION BY {quoted(PARTITION)} ORDER BY {quoted(ARRIVED)}\n"
            "  ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW\n"
            f") - {self._spec.lateness_ms} AS {quoted(OLDEST)}\nFROM (\n  {rows}\n);"
        )

    def _kind(self, name: str, event: Impressions | Action) -> str:
        key = whole(self._schema, event.key, self._spec.keys)
        id_ = whole(self._schema, event.event_id, self._spec.ids)
        time, oldest = quoted(TIME), quoted(OLDEST)
        late = f"{time} < {oldest}"
        if self._spec.idle_s is not None:  # the watermark may have gone on without this partition
            late += f" OR TO_TIMESTAMP_LTZ({time}, 3) <= CURRENT_WATERMARK({quoted(DUE)})"
        row = row_of(self._carried)
        shown, amount = f"CAST(NULL AS {row})", number(self._schema, None)
        if isinstance(event, Action):
            amount = number(self._schema, event.value)
        else:
            features = ", ".join(quoted(field.name) for field in self._carried)
            shown = f"CAST(ROW({features}) AS {row})"
        where = " AND ".join(equals(self._schema, *each) for each in event.where.items())
        return (
            f"SELECT {_text(name)} AS `kind`, {_text(self._topic)} AS `topic`, {quoted(PARTITION)} AS `part`,\n"
            f"  {key} AS `k`, {id_} AS `id`, {self._at} AS `at`, {amount} AS `amount`,\n"
            f"  {shown} AS `shown`,\n"
            f"  CASE\n    WHEN {key} IS NULL OR {id_} IS NULL OR {self._at} IS NULL THEN 'null'\n"
            f"    WHEN {self._at} NOT BETWEEN 0 AND {LATEST_MS - 1} THEN 'null'\n"
            f"    WHEN {time} IS NULL THEN 'future'\n    WHEN {late} THEN 'late'\n  END AS `fault`,\n"
            f"  {oldest} AS `oldest`, {quoted(DUE)} AS `due`, {quoted(ARRIVED)} AS `arrived`\n"
            f"FROM {quoted(self._name + '_in_order')}" + (f" WHERE {where}" if where else "")
        )


def sides_of(spec: JoinSpec, schemas: Mapping[str, pa.Schema], source: Kafka | Files) -> list[Side]:
    """The impressions' side, and one of actions for each topic of theirs.

    Raises:
        ConfigError: a topic's columns are not said, one is missing, of another type, or named as one of the job's own.
    """
    for topic in spec.topics:
        if topic not in schemas:
            raise ConfigError(
                f"the columns of topic '{topic}' are not said; schemas has those of {sorted(schemas)}"
            )
        schema = schemas[topic]
        if len(set(schema.names)) != len(schema):
            raise ConfigError(f"topic '{topic}' has two columns of one name among {schema.names}")
        if taken := sorted(set(schema.names) & set(OURS)):
            raise ConfigError(
                f"column '{taken[0]}' of topic '{topic}' is named as one of the job's own; rename it"
            )
    ours = spec.impressions.topic
    own = {spec.impressions.key, spec.impressions.time, spec.impressions.event_id}
    features = [field for field in schemas[ours] if field.name not in {*spec.made} | own]
    carried = pa.schema(features or [field for field in schemas[ours] if field.name in own])
    sides = [Side(spec, ours, schemas[ours], source.parts(ours), carried, impressions=True)]
    for topic in dict.fromkeys(action.topic for action in spec.actions):
        needed = {
            name
            for action in spec.actions
            if action.topic == topic
            for name in (action.key, action.time, action.event_id, action.value, *action.where)
        }
        schema = pa.schema([field for field in schemas[topic] if field.name in needed])
        sides.append(Side(spec, topic, schema, source.parts(topic), carried, impressions=False))
    return sides


def _text(value: str) -> str:
    # Literals of different lengths are of different types; what a union makes of them would be padded.
    return f"CAST({literal(value)} AS STRING)"
