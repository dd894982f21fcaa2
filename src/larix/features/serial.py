"""A sample's declaration as JSON text and back, exactly, fitted state included.

Knows the kinds by one literal table.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from larix.errors import ConfigError
from larix.features.bucket import Bucket
from larix.features.dense import Dense
from larix.features.ids import Cross, Id, Ids
from larix.features.label import Binary, Seconds
from larix.features.sequence import LogAge, Sequence
from larix.features.timepart import Hour, Weekday

FORMAT = 1
FEATURES: Mapping[str, type] = {
    "id": Id,
    "ids": Ids,
    "cross": Cross,
    "bucket": Bucket,
    "hour": Hour,
    "weekday": Weekday,
    "dense": Dense,
    "sequence": Sequence,
}
ELEMENTS: Mapping[str, type] = {"id": Id, "dense": Dense, "log_age": LogAge}
TASKS: Mapping[str, type] = {"binary": Binary, "seconds": Seconds}
KEYS = ("group", "scene", "time", "weight")


def write(arguments: Mapping[str, Any]) -> str:
    """The constructor arguments of a Sample as JSON text: features and tasks as lists, so that their order
    stays.
    """
    features = arguments["features"]
    document = {
        "format": FORMAT,
        "features": [{"name": name} | _dump(FEATURES, feature) for name, feature in features.items()],
        "tasks": [_dump(TASKS, task) for task in arguments["tasks"]],
    }
    return json.dumps(document | {key: arguments[key] for key in KEYS}, indent=1, allow_nan=False)


def read(text: str) -> dict[str, Any]:
    """The arguments ``write`` was given.

    Raises ConfigError on text that is not a sample's, and on keys it does not know.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"a sample's JSON does not parse: {error}") from error
    document = _object(document, "a sample")
    if document.get("format") != FORMAT:
        raise ConfigError(
            f"a sample's JSON has format {document.get('format')!r}; this version of larix reads {FORMAT}"
        )
    _known(document, {"format", "features", "tasks", *KEYS}, "a sample")
    features: dict[str, Any] = {}
    for entry in _list(document, "features"):
        entry = _object(entry, "a feature")
        name = entry.pop("name", None)
        if not isinstance(name, str) or name in features:
            raise ConfigError(f"a sample's JSON names a feature {name!r}; each needs a name of its own")
        features[name] = _load(FEATURES, entry, f"feature '{name}'")
    tasks = tuple(_load(TASKS, task, "a task") for task in _list(document, "tasks"))
    return {"features": features, "tasks": tasks} | {key: document.get(key) for key in KEYS}


def _dump(kinds: Mapping[str, type], value: Any) -> dict[str, Any]:
    kind = next(kind for kind, known in kinds.items() if type(value) is known)
    if isinstance(value, Sequence):
        elements = [{"name": name} | _dump(ELEMENTS, element) for name, element in value.elements.items()]
        return {"kind": kind, "newest": value.newest, "elements": elements}
    return {"kind": kind} | {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _load(kinds: Mapping[str, type], value: Any, what: str) -> Any:
    fields = _object(value, what)
    kind = fields.pop("kind", None)
    known = kinds.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise ConfigError(f"{what} has kind {kind!r}; the kinds are {', '.join(kinds)}")
    if known is Sequence:
        _known(fields, {"newest", "elements"}, what)
        elements: dict[str, Any] = {}
        for entry in _list(fields, "elements"):
            entry = _object(entry, f"an element of {what}")
            name = entry.pop("name", None)
            if not isinstance(name, str) or name in elements:
                raise ConfigError(f"{what} names an element {name!r}; each needs a name of its own")
            elements[name] = _load(ELEMENTS, entry, f"element '{name}' of {what}")
        return Sequence(**(elements | {"newest": fields.get("newest")}))
    _known(fields, {field.name for field in dataclasses.fields(known)}, what)
    try:
        return known(**fields)
    except TypeError as error:
        raise ConfigError(f"{what} does not read as {known.__name__}: {error}") from error


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{what} in JSON is an object, but got {value!r}")
    return dict(value)


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        raise ConfigError(f"a sample's JSON has {key}={value!r}; it must be a list")
    return value


def _known(fields: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(set(fields) - known)
    if unknown:
        raise ConfigError(f"{what} has unknown keys {unknown} in JSON; it knows {sorted(known)}")
