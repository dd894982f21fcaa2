"""The columns that samples carry from their impressions, as appends show them. Knows nothing of keys, times and labels.

Producers add columns, leave some out, and change their types; none of that stops a join or loses a value that can be kept.
"""

from collections.abc import Mapping

import pyarrow as pa

from larix.data.log.columns import cast


class Carried:
    """The columns seen so far, in the order in which they came, and the type that each has now.

    A type that is wider than the one before takes its place (int32 to int64, int64 to float64, null to anything); values
    of one that is not are cast where nothing is lost ("7" becomes 7), and are else null and counted.
    """

    def __init__(self, types: Mapping[str, pa.DataType]) -> None:
        self.types = dict(types)

    def fit(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[str, int]]:
        """Rows of one append, each column of a type that its column can take; the number of values that could not be had.

        Of two columns of one name the second is passed over.
        """
        arrays: dict[str, pa.Array] = {}
        unfit: dict[str, int] = {}
        for field, values in zip(rows.schema, rows.columns, strict=True):
            name = field.name
            if name in arrays:
                continue
            held = self.types.setdefault(name, field.type)
            if held != field.type:
                wide = wider(held, field.type)
                if wide is None:
                    values, bad, _ = cast(values, held)
                    if len(bad):
                        unfit[name] = len(bad)
                else:
                    self.types[name] = wide
            arrays[name] = values
        return pa.RecordBatch.from_arrays([*arrays.values()], names=[*arrays]), unfit

    def holds(self, schema: pa.Schema) -> bool:
        """Whether columns of it are taken as they are."""
        return len(set(schema.names)) == len(schema) and all(
            self.types.get(field.name) == field.type for field in schema
        )

    def out(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows that were fit, now or before, with all columns and their present types; null where one lacks."""
        schema = pa.schema([*self.types.items()])
        if rows.schema == schema:
            return rows
        places = {name: number for number, name in enumerate(rows.schema.names)}
        arrays = [
            conform(rows.column(places[name]), kind) if name in places else pa.nulls(len(rows), kind)
            for name, kind in self.types.items()
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def wider(held: pa.DataType, kind: pa.DataType) -> pa.DataType | None:
    """The type that holds both, or None. Whole numbers above 2**53 are rounded where they become floating."""
    if pa.uint64() in (held, kind) and (pa.types.is_signed_integer(held) or pa.types.is_signed_integer(kind)):
        return None
    if any(map(pa.types.is_decimal, (held, kind))) and any(map(_other_number, (held, kind))):
        return pa.float64()  # Arrow names a decimal that its own casts do not reach
    if held != kind and _is_list(held) and _is_list(kind):
        inside = wider(held.value_type, kind.value_type)
        if inside is None:
            return None
        return pa.large_list(inside) if any(map(pa.types.is_large_list, (held, kind))) else pa.list_(inside)
    one, other = (pa.schema([("", each)]) for each in (held, kind))
    try:
        return pa.unify_schemas([one, other], promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def _other_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))


def conform(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """The values as a type that is theirs or wider."""
    if values.type == kind:
        return values
    try:
        return values.cast(kind, safe=False)
    except pa.ArrowException:
        return cast(values, kind)[0]
