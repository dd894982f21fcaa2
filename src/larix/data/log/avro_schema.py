"""Arrow's types as an Avro schema, and the columns that a schema of anybody promises. Knows no bytes.

Schemas come from the wire, so their size, their depth and what their rows may grow to are bounded before Avro sees them.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa

from larix.errors import ConfigError, DataError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPES, _DEPTH = 4096, 64  # of one schema
_DENSEST = 1 << 20

_PRIMITIVES = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    **{
        ("long", f"{local}timestamp-{name}"): pa.timestamp(unit, None if local else "UTC")
        for local in ("", "local-")
        for name, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))
    },
}
_LEAST = {"null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1}


class Reading(NamedTuple):
    """How the rows of a schema are read."""

    rows: Any  # a schema of all rows of a block, without names that refer to others or logical types that convert
    names: list[str]
    types: list[pa.DataType | None]  # None: as the values are
    density: int  # values made of one byte, at most


def written(schema: pa.Schema) -> dict[str, Any]:
    """The Avro schema of rows; every field may be null.

    Raises:
        ConfigError: Avro has no name or no type for a column.
    """
    for name, times in Counter(schema.names).items():
        if times > 1:
            raise ConfigError(f"column '{name}' is there {times} times; Avro has it once; use Arrow")
    fields = [_field(each, "larix.row", each.name) for each in schema]
    return {"type": "record", "name": "larix.row", "fields": fields}


def _field(field: pa.Field, path: str, column: str) -> dict[str, Any]:
    if not _NAME.fullmatch(field.name):
        raise ConfigError(
            f"Avro does not allow the name '{field.name}' (column '{column}'): it takes letters, digits and _; "
            "rename it, or use Arrow"
        )
    return {"name": field.name, "type": _nullable(field.type, f"{path}.{field.name}", column)}


def _nullable(kind: pa.DataType, path: str, column: str) -> list[Any]:
    # Nulls are a union of one, which takes a byte: lists of things that take none could be endless.
    return ["null"] if pa.types.is_null(kind) else ["null", _type(kind, path, column)]


def _type(kind: pa.DataType, path: str, column: str) -> Any:
    t = pa.types
    if t.is_boolean(kind):
        return "boolean"
    if t.is_integer(kind):
        return "int" if kind.bit_width < 32 or kind == pa.int32() else "long"
    if t.is_floating(kind):
        return "double" if kind == pa.float64() else "float"
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return "string"
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind) or t.is_binary_view(kind):
        return "bytes"
    if t.is_timestamp(kind):
        unit = {"s": "millis", "ms": "millis", "us": "micros", "ns": "nanos"}[kind.unit]
        return {"type": "long", "logicalType": f"{'' if kind.tz else 'local-'}timestamp-{unit}"}
    for (base, logical), same in _LOGICAL.items():
        if kind == same:
            return {"type": base, "logicalType": logical}
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return {"type": "array", "items": _nullable(kind.value_type, f"{path}.item", column)}
    if t.is_struct(kind) and len({field.name for field in kind}) == kind.num_fields:
        return {"type": "record", "name": path, "fields": [_field(each, path, column) for each in kind]}
    raise ConfigError(f"Avro has no type for column '{column}', which is {kind}; use Arrow")


def wire(kind: pa.DataType) -> pa.DataType:
    """What a column of ``kind`` comes back as from the file alone. ConfigError if Avro has no type for it."""
    return reading(json.dumps(written(pa.schema([("x", kind)])))).types[0]


def raw(kind: pa.DataType) -> pa.DataType:
    """``kind`` with times as the numbers that Avro writes."""
    return _each(kind, _number)


def solid(kind: pa.DataType) -> pa.DataType:
    """``kind`` without nulls: Arrow's cast of lists of them to the same cuts them off."""
    return _each(kind, lambda leaf: pa.bool_() if pa.types.is_null(leaf) else leaf)


def in_ms(kind: pa.DataType) -> pa.DataType:
    """``kind`` with seconds as the milliseconds that Avro has for them."""
    return _each(kind, lambda leaf: pa.timestamp("ms", leaf.tz) if _in_seconds(leaf) else leaf)


def _in_seconds(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.unit == "s")


def _number(leaf: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(leaf) or pa.types.is_time64(leaf):
        return pa.int64()
    return pa.int32() if pa.types.is_date32(leaf) or pa.types.is_time32(leaf) else leaf


def _each(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_each(field.type, change)) for field in kind])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_each(kind.value_type, change)), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(_each(kind.value_type, change)))
    return change(kind)


def reading(text: str) -> Reading:
    """How rows of the schema ``text`` are read.

    Raises:
        DataError: it is none of records with columns, refers to itself, is too large, or its rows may be endless.
    """
    try:
        walk = _Walk()
        row, _ = walk.take(json.loads(text), "", 0)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError("no Avro schema") from error
    if not isinstance(row, dict) or row["type"] != "record":
        raise DataError("Avro that is no record")
    if not row["fields"]:
        raise DataError("Avro without a column")
    density = 1
    while _surplus(row, density) > 0:
        density *= 2
        if density > _DENSEST:
            raise DataError("an Avro schema of values that take no bytes")
    return Reading(
        {"type": "array", "items": row}, [field["name"] for field in row["fields"]], walk.columns, density
    )


class _Walk:
    """Through a schema, from outside in; names are replaced by what they stand for."""

    def __init__(self) -> None:
        self.columns: list[
            pa.DataType | None
        ] = []  # of the record that was left last: in the end, of the outermost
        self._named: dict[str, tuple[dict[str, Any], str]] = {}
        self._within: set[str] = set()
        self._count = 0

    def take(self, schema: Any, space: str, depth: int) -> tuple[Any, pa.DataType | None]:
        """What Avro is told to read, and the Arrow type of it; None if that is as the values are."""
        self._count += 1
        if self._count > _TYPES or depth > _DEPTH:
            raise DataError(f"an Avro schema of more than {_TYPES} types, or {_DEPTH} within each other")
        if isinstance(schema, list):
            return self._union(schema, space, depth)
        if isinstance(schema, str):
            if schema in _PRIMITIVES:
                return schema, _PRIMITIVES[schema]
            full = schema if "." in schema or f"{space}.{schema}" not in self._named else f"{space}.{schema}"
            found, space = self._named[full]
            return self._name(found, full, space, depth)
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.take(kind, space, depth + 1)
        if kind == "array":
            items, arrow = self.take(schema["items"], space, depth + 1)
            return {"type": "array", "items": items}, None if arrow is None else pa.list_(arrow)
        if kind == "map":
            values, arrow = self.take(
                schema["values"], space, depth + 2
            )  # as Arrow has it: of pairs, of values
            pairs = {"type": "map", "values": values, "logicalType": "larix-pairs"}
            return pairs, None if arrow is None else pa.map_(pa.string(), arrow)
        if kind in ("record", "error", "enum", "fixed"):
            name = schema["name"]
            if "." not in name:
                space = schema.get("namespace", space) or ""
                name = f"{space}.{name}" if space else name
            space = name.rpartition(".")[0]
            self._named[name] = (schema, space)
            return self._name(schema, name, space, depth)
        if kind == "bytes" and (decimal := _decimal(schema)):
            return decimal
        if kind in _PRIMITIVES:
            return kind, _LOGICAL.get((kind, str(schema.get("logicalType"))), _PRIMITIVES[kind])
        return self.take(kind, space, depth + 1)

    def _union(self, schema: list[Any], space: str, depth: int) -> tuple[Any, pa.DataType | None]:
        if not schema:
            raise ValueError("a union of nothing")
        branches = [self.take(each, space, depth + 1) for each in schema]
        types = [arrow for said, arrow in branches if said != "null"]
        same = all(arrow == types[0] for arrow in types)
        return [said for said, _ in branches], (types[0] if same else None) if types else pa.null()

    def _name(
        self, schema: dict[str, Any], full: str, space: str, depth: int
    ) -> tuple[Any, pa.DataType | None]:
        if full in self._within:
            raise DataError(f"an Avro schema of '{full[:40]}' that is within itself")
        here = {"type": schema["type"], "name": f"t{self._count}"}
        if schema["type"] == "enum":
            if not all(isinstance(each, str) for each in schema["symbols"]):
                raise TypeError("symbols that are no text")
            return {**here, "symbols": schema["symbols"]}, pa.string()
        if schema["type"] == "fixed":
            size = schema["size"]
            if not isinstance(size, int) or not 0 <= size < 1 << 31:
                raise ValueError("a size that is none")
            if decimal := _decimal(schema):
                return {**here, **decimal[0], "size": size}, decimal[1]
            return {**here, "size": size}, pa.binary()
        self._within.add(full)
        names = [field["name"] for field in schema["fields"]]
        if len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names):
            raise ValueError("names that Avro does not allow")
        found = [self.take(field["type"], space, depth + 1) for field in schema["fields"]]
        self._within.discard(full)
        self.columns = [arrow for _, arrow in found]
        fields = [{"name": name, "type": said} for name, (said, _) in zip(names, found, strict=True)]
        whole = all(arrow is not None for arrow in self.columns)
        arrow = pa.struct(list(zip(names, self.columns, strict=True))) if whole else None
        return {**here, "type": "record", "fields": fields}, arrow


def _decimal(schema: dict[str, Any]) -> tuple[dict[str, Any], pa.DataType] | None:
    if schema.get("logicalType") != "decimal":
        return None
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if not (isinstance(precision, int) and isinstance(scale, int) and 0 <= scale <= precision <= 76):
        return None  # as the specification says: without its meaning
    if not precision:
        return None
    arrow = pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    return {"type": schema["type"], "logicalType": "larix-decimal", "scale": scale}, arrow


def _surplus(schema: Any, density: int) -> float:
    """The most values that it makes beyond ``density`` for each byte; infinite if they may repeat for ever.

    Of a thing that repeats, each time pays for itself: so a block makes no more than its bytes times the density.
    """
    if isinstance(schema, list):
        return max(_surplus(each, density) for each in schema) - density
    if isinstance(schema, str):
        return 1 - density * _LEAST[schema]
    kind = schema["type"]
    if kind == "record":  # a dictionary weighs as much as two values
        return 2 + sum(_surplus(field["type"], density) for field in schema["fields"])
    if kind in ("array", "map"):
        inside = _surplus(schema["items" if kind == "array" else "values"], density)
        pair = 2 - density if kind == "map" else 0  # a key, its length's byte, and the pair
        return 2 - density if inside + pair <= 0 else float("inf")
    return 1 - density * (schema["size"] if kind == "fixed" else 1)
