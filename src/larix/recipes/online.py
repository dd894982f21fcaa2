"""A recipe's run carried on without end: its network and optimizer found again, samples out of a log, deltas into it.

Knows recipes by name only; knows nothing of how training goes on.
"""

import ast
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from larix.data.log import EventLog
from larix.errors import ConfigError
from larix.features import Sample
from larix.model.still import keep_still
from larix.recipes.named import find_recipe, make
from larix.recipes.recipe import Recipe
from larix.recipes.run import open_run
from larix.train.online import (
    Alarm,
    Deltas,
    Drift,
    OnlineSettings,
    Outcome,
    Samples,
    Saved,
    Watcher,
    Window,
    online,
)
from larix.train.run import read_json

_PLAIN = (int, float, str)
_DRIFT = "drift."


def carry_on(
    run: Path,
    samples: Samples,
    folder: Path,
    console: Console,
    *,
    log: EventLog,
    deltas: str = "deltas",
    words: Iterable[str] = (),
    frozen: bool = False,
    until: Callable[[], bool] | None = None,
) -> Outcome:
    """Train the run in ``run``, made by a recipe, on in ``folder``, as its online side says; see ``train.online.online``.

    ``deltas``: the topic of ``log`` that changes go to. ``words``: settings as ``key=value``, others are the recipe's.
    ``frozen``: test the run as it is on the same batches.
    """
    begun = (folder / "config.json").exists()
    config = read_json((folder if begun else run) / "config.json")
    if "recipe" not in config:
        raise ConfigError(f"'{run}' was not made by a recipe; go on with it in Python by train.online.online")
    recipe = make(find_recipe(config["recipe"]), config.get("arguments", {}))
    return online(
        run,
        samples,
        folder,
        ranker=lambda sample: network(recipe, sample),
        dense=recipe.dense,
        settings=settings_from(words, OnlineSettings() if recipe.live is None else recipe.live.settings),
        deltas=Deltas(log=log, topic=deltas),
        against=open_run(run)[0] if frozen else None,
        watcher=_Lines(console),
        until=until,
    )


def network(recipe: Recipe, sample: Sample) -> nn.Module:
    """The recipe's network, with those slots kept still that are not to learn online."""
    ranker = recipe.ranker(sample)
    if recipe.live is not None:
        keep_still(ranker, recipe.live.still)
    return ranker


def settings_from(words: Iterable[str], settings: OnlineSettings) -> OnlineSettings:
    """``settings`` but for what ``key=value`` words say, ``drift.key=value`` of its `Drift`, None to switch one of these off.

    ConfigError for another word or a value of another type.
    """
    known = {
        name: getattr(settings, name)
        for name in OnlineSettings.names()
        if isinstance(getattr(settings, name), _PLAIN)
    }
    for each in fields(Drift):
        known[_DRIFT + each.name] = getattr(settings.drift, each.name) or each.default
    given: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in known:
            there = ", ".join(f"{name}={value!r}" for name, value in known.items())
            raise ConfigError(f"--set {word} is no setting of an online run; they are {there}")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        if not _fits(value, known[name], off=name in (_DRIFT + "calibration", _DRIFT + "loss_jump")):
            kind = type(known[name]).__name__
            raise ConfigError(f"the setting '{name}' is a {kind} such as {known[name]!r}, got {text!r}")
        given[name] = value
    drift = {name.removeprefix(_DRIFT): given.pop(name) for name in [*given] if name.startswith(_DRIFT)}
    return replace(settings, **given, drift=replace(settings.drift, **drift))


def _fits(value: Any, usual: Any, *, off: bool) -> bool:
    """Whether a value is of the type of the usual one; ``off``: or None."""
    if isinstance(usual, tuple) and isinstance(value, tuple):
        return len(value) == len(usual) and all(map(partial(_fits, off=False), value, usual))
    return (
        type(value) is type(usual) or (type(usual) is float and type(value) is int) or (off and value is None)
    )


class _Lines(Watcher):
    """A line for each window, version and alarm."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def measured(self, window: Window) -> None:
        parts = [f"{window.samples:,} samples"]
        for name, found in window.metrics["tasks"].items():
            if found["kind"] == "binary" and found["auc"] is not None:
                parts.append(f"{name} AUC {found['auc']:.4f}")
                if window.frozen is not None and window.frozen["tasks"][name]["auc"] is not None:
                    parts[-1] += f" (frozen {window.frozen['tasks'][name]['auc']:.4f})"
        self._say(f"step {window.step}: {', '.join(parts)}")

    def saved(self, saved: Saved) -> None:
        self._say(f"step {saved.step}: saved {saved.path.name} in {saved.seconds:.1f} s")

    def alarmed(self, alarm: Alarm) -> None:
        self._say(f"step {alarm.step}: {alarm.what}: {alarm.text}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
