"""A value model as JSON text and back, exactly, calibrations included. Knows the kinds by two literal tables."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from larix.errors import ConfigError
from larix.feed.calibration import Isotonic, Platt
from larix.feed.fusion import Fusion, PowerProduct, RankEnsemble, WeightedSum
from larix.feed.value import ValueModel

FORMAT = 1
FUSIONS: Mapping[str, type] = {
    "weighted_sum": WeightedSum,
    "power_product": PowerProduct,
    "rank_ensemble": RankEnsemble,
}
CALIBRATIONS: Mapping[str, type] = {"platt": Platt, "isotonic": Isotonic}


def write(model: ValueModel) -> str:
    """Return ``model`` as JSON text that ``read`` makes an equal one of.

    ConfigError for a fusion of a kind of your own.
    """
    document = {
        "format": FORMAT,
        "fusion": _dump(FUSIONS, model.fusion),
        "scenes": {str(scene): _dump(FUSIONS, fusion) for scene, fusion in model.scenes.items()},
        "calibration": {name: _dump(CALIBRATIONS, each) for name, each in model.calibration.items()},
    }
    return json.dumps(document, indent=1, allow_nan=False)


def read(text: str) -> ValueModel:
    """Return the value model that ``text`` tells; "scenes" and "calibration" may be left out.

    ConfigError for what is not one, for keys it does not know and for keys given twice: a hand wrote this.
    """
    try:
        document = json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"a value model's JSON does not parse: {error}") from error
    document = _object(document, "a value model")
    if document.get("format") != FORMAT or document["format"] is True:
        raise ConfigError(
            f"a value model's JSON has format {document.get('format')!r}; this version of larix reads {FORMAT}"
        )
    _known(document, {"format", "fusion", "scenes", "calibration"}, "a value model")
    scenes = _object(document.get("scenes", {}), "scenes")
    calibration = _object(document.get("calibration", {}), "calibration")
    return ValueModel(
        fusion=_fusion(document.get("fusion"), "fusion"),
        scenes={_scene(name): _fusion(value, f"scene {name}") for name, value in scenes.items()},
        calibration={
            name: _load(CALIBRATIONS, value, f"the calibration of '{name}'")
            for name, value in calibration.items()
        },
    )


def _fusion(value: Any, what: str) -> Fusion:
    fusion: Fusion = _load(FUSIONS, value, what)
    return fusion


def _scene(name: str) -> int:
    try:
        scene = int(name)
    except ValueError:
        scene = None
    if scene is None or str(scene) != name or not -(2**63) <= scene < 2**63:
        raise ConfigError(f'a value model\'s JSON has scene {name!r}; a scene is a 64-bit id, written as "3"')
    return scene


def _dump(kinds: Mapping[str, type], value: Any) -> dict[str, Any]:
    kind = next((kind for kind, known in kinds.items() if type(value) is known), None)
    if kind is None:
        raise ConfigError(
            f"a {type(value).__name__} cannot be written as JSON; the kinds are {', '.join(kinds)}"
        )
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    plain = {name: dict(part) if isinstance(part, Mapping) else part for name, part in fields.items()}
    return {"kind": kind} | plain


def _load(kinds: Mapping[str, type], value: Any, what: str) -> Any:
    fields = _object(value, what)
    kind = fields.pop("kind", None)
    known = kinds.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise ConfigError(f"{what} has kind {kind!r}; the kinds are {', '.join(kinds)}")
    _known(fields, {field.name for field in dataclasses.fields(known)}, what)
    for name, part in fields.items():
        parts = part.values() if isinstance(part, dict) else part if isinstance(part, list) else (part,)
        if isinstance(part, dict) != (name == "weights") or isinstance(part, list) != (
            name in ("inputs", "outputs")
        ):
            raise ConfigError(f"{what} has {name}={part!r}, which is of the wrong kind")
        for number in parts:
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ConfigError(f"{what} has {number!r} in '{name}', which is no number")
    try:
        return known(**fields)
    except (TypeError, OverflowError) as error:
        raise ConfigError(f"{what} does not read as {known.__name__}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from error


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{what} in JSON is an object, but got {value!r}")
    return dict(value)


def _known(fields: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(set(fields) - known)
    if unknown:
        raise ConfigError(f"{what} has unknown keys {unknown} in JSON; it knows {sorted(known)}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice} given twice in one object")
    return dict(pairs)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")
