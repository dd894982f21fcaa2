"""Columns of events in Flink SQL: names, types, and values read as a key, a time or a number. Knows no table.

Each expression gives what the oracle's `reference.py` makes of the same value.
"""

import pyarrow as pa

from larix.data.join.spec import Type, Value
from larix.errors import ConfigError


def quoted(name: str) -> str:
    """The name of a column or a table."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """Text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


_PLAIN = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.uint8(): "SMALLINT",
    pa.uint16(): "INT",
    pa.uint32(): "BIGINT",
    pa.uint64(): "DECIMAL(20, 0)",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "STRING",
    pa.large_string(): "STRING",
}


def type_of(column: str, kind: pa.DataType) -> str:
    """The SQL type that holds values of an Arrow type in JSON.

    Raises:
        ConfigError: JSON has no word for them.
    """
    if kind in _PLAIN:
        return _PLAIN[kind]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"ARRAY<{type_of(column, kind.value_type)}>"
    if pa.types.is_struct(kind):
        parts = [f"{quoted(part.name)} {type_of(f'{column}.{part.name}', part.type)}" for part in kind]
        return f"ROW<{', '.join(parts)}>"
    if pa.types.is_dictionary(kind):
        return type_of(column, kind.value_type)
    raise ConfigError(
        f"column '{column}' is {kind}, which a Flink job cannot read from JSON; take numbers, text, bools, lists or structs"
    )


def row_of(schema: pa.Schema) -> str:
    """The SQL type of a row of such columns."""
    return f"ROW<{', '.join(f'{quoted(field.name)} {type_of(field.name, field.type)}' for field in schema)}>"


def whole(schema: pa.Schema, column: str, kind: Type) -> str:
    """A key, an event id or a time, as BIGINT or STRING; null if it cannot be had so.

    Raises:
        ConfigError: there is no such column, or it is neither whole numbers nor text.
    """
    held = _held(schema, column)
    if pa.types.is_integer(held) and held != pa.uint64():
        wanted = "BIGINT" if kind == "int64" else "STRING"
        return quoted(column) if type_of(column, held) == wanted else f"CAST({quoted(column)} AS {wanted})"
    if not _is_text(held):
        raise ConfigError(
            f"column '{column}' is {held}; a Flink job takes keys, event ids and times as int64 or string"
        )
    if kind == "string":
        return quoted(column)
    return (
        f"CASE WHEN REGEXP({quoted(column)}, '^-?[0-9]{{1,18}}\\z') THEN CAST({quoted(column)} AS BIGINT) END"
    )


def number(schema: pa.Schema, column: str | None) -> str:
    """What a total adds up, a DOUBLE: null and what is no finite number are 0.

    Raises:
        ConfigError: there is no such column, or it holds lists or structs.
    """
    if column is None:
        return "CAST(NULL AS DOUBLE)"
    held, name = _held(schema, column), quoted(column)
    if pa.types.is_boolean(held):
        return f"CASE WHEN {name} THEN 1e0 ELSE 0e0 END"
    if pa.types.is_integer(held):
        return f"COALESCE(CAST({name} AS DOUBLE), 0e0)"
    if pa.types.is_floating(held):
        return f"CASE WHEN ABS({name}) <= {1.7976931348623157e308!r} THEN CAST({name} AS DOUBLE) ELSE 0e0 END"
    if _is_text(held):
        pattern = "'^-?[0-9]{1,30}(\\.[0-9]{1,30})?\\z'"
        return f"CASE WHEN REGEXP({name}, {pattern}) THEN CAST({name} AS DOUBLE) ELSE 0e0 END"
    raise ConfigError(f"column '{column}' is {held}; a total adds up numbers")


def equals(schema: pa.Schema, column: str, value: Value) -> str:
    """Whether a column has a value: true, or not (false and null alike).

    Raises:
        ConfigError: there is no such column, or its values are of another type.
    """
    held, name = _held(schema, column), quoted(column)
    if isinstance(value, bool) and pa.types.is_boolean(held):
        return f"{name} IS {str(value).upper()}"
    if isinstance(value, int) and not isinstance(value, bool) and pa.types.is_integer(held):
        return f"{name} = {value}"
    if isinstance(value, str) and _is_text(held):
        return f"{name} = {literal(value)}"
    raise ConfigError(f"column '{column}' is {held} and never equals {value!r}")


def sortable(expression: str, kind: Type) -> str:
    """Text that sorts as the values do, of one length for whole numbers."""
    if kind == "string":
        return expression
    padded = "LPAD(CAST({} AS STRING), 19, '0')"
    below = padded.format(f"({expression} + {2**63 - 1} + 1)")
    return f"CASE WHEN {expression} < 0 THEN '-' || {below} ELSE '0' || {padded.format(expression)} END"


def interval(milliseconds: int) -> str:
    """A span of time, of 999 days at most."""
    seconds, rest = divmod(milliseconds, 1000)
    days, seconds = divmod(seconds, 86_400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"
    return f"INTERVAL '{days} {clock}' DAY(3) TO SECOND(3)"


def _is_text(held: pa.DataType) -> bool:
    if pa.types.is_dictionary(held):
        held = held.value_type
    return held in (pa.string(), pa.large_string())


def _held(schema: pa.Schema, column: str) -> pa.DataType:
    places = schema.get_all_field_indices(column)
    if len(places) != 1:
        raise ConfigError(
            f"there {'is no' if not places else 'are several'} column '{column}' in {schema.names}"
        )
    return schema.field(places[0]).type
