"""Which version is to answer whom, as a file beside a model's bundles says. Knows nothing of how versions are loaded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larix.errors import ConfigError

FILE = "versions.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """``version``: a bundle's folder. ``share``: of users, or of requests in the shadow, from 0 to 1. ``salt``: see Canary."""

    version: str
    share: float
    salt: str = ""

    def __post_init__(self) -> None:
        texts = isinstance(self.version, str) and isinstance(self.salt, str)
        if not texts or isinstance(self.share, bool) or not isinstance(self.share, int | float):
            raise ConfigError(f"a part is a version and a share, but got {self.version!r}, {self.share!r}")
        if not 0 <= self.share <= 1:
            raise ConfigError(f"version '{self.version}' is to have a share of {self.share}; give 0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """``live``: the bundle that answers; "" is the newest that is not tried out. ``trial`` and ``shadow``: see Model."""

    live: str = ""
    trial: Part | None = None
    shadow: Part | None = None

    @property
    def tried_out(self) -> frozenset[str]:
        """Bundles that do not answer everybody for being new."""
        return frozenset(each.version for each in (self.trial, self.shadow) if each is not None)


def read(text: str) -> Plan:
    """The plan that JSON tells: ``{"live": "step-9", "trial": {"version": "step-10", "share": 0.05}}``; parts may be left out.

    ConfigError for what is none, and for keys that are not known: a hand wrote this.
    """
    try:
        told = _object(json.loads(text), "the file", {"live", "trial", "shadow"})
        live = told.get("live", "")
        if not isinstance(live, str):
            raise ConfigError(f"'live' is {live!r}; it is the name of a bundle's folder")
        known = {"trial": {"version", "share", "salt"}, "shadow": {"version", "share"}}
        parts = {
            name: Part(**_object(told[name], f"'{name}'", keys))
            for name, keys in known.items()
            if told.get(name) is not None
        }
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"it is no JSON: {error}") from error
    except TypeError as error:
        raise ConfigError(f"a part is not told whole: {error}") from error
    return Plan(live=live, **parts)


class PlanFile:
    """The plan in a folder's file ``FILE``, as of its last good state; without the file everything is left out."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._seen: bytes | None = b"{}"
        self._plan: Plan | None = None
        self._trouble = ""

    def look(self) -> tuple[Plan | None, str]:
        """The plan, and why the file as it is now is not followed, "" if it is. None if it never could be."""
        try:
            found = self._path.read_bytes() if self._path.exists() else b"{}"
        except OSError as error:
            return self._plan, f"'{self._path}' cannot be read: {error.strerror}"
        if found != self._seen or self._plan is None:
            self._seen = found
            try:
                self._plan, self._trouble = read(found.decode()), ""
            except (ConfigError, UnicodeDecodeError) as error:
                self._trouble = f"'{self._path}' is not followed: {error}"
        return self._plan, self._trouble


def _object(value: Any, what: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{what} is {value!r:.60}; expected an object")
    if unknown := sorted(value.keys() - known):
        raise ConfigError(f"{what} has unknown keys {unknown}; it knows {sorted(known)}")
    return value
