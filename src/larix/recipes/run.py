"""A recipe carried out, from samples to report, and its run found again by what the run folder says of it.

Knows recipes by name only; knows nothing of data sets or networks.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from larix.embedding import Tables
from larix.errors import ConfigError, DataError, NumericsError
from larix.recipes.feed import Feed, truth
from larix.recipes.live import Live
from larix.recipes.named import absolute, find_recipe, make, parameters, settings_of
from larix.recipes.pages import diversity
from larix.recipes.recipe import Recipe
from larix.train import Run, Settings, fit, version, write_report
from larix.train.run import read_json, write_json

_EVALUATIONS = 5  # along a run, beside the one at its end


def carry_out(
    name: str,
    words: Sequence[str],
    folder: Path,
    console: Console,
    *,
    data: Path | None = None,
    resume: bool = False,
) -> Run:
    """Train the recipe ``name`` with the settings in ``words`` in the run folder ``folder``, test it, write its report.

    ``data``: the recipe's setting of that name. ``resume``: go on from the newest version in ``folder``, with the
    settings that the run was begun with where ``words`` say nothing else. The test samples are measured a few times on
    the way, for the report's curves; nothing is trained, chosen or stopped by what they say.

    Raises ConfigError for a wrong name or word, and what ``train.fit`` raises; a run that broke off has a report, too.
    """
    function = find_recipe(name)
    if not resume and version.versions(folder / "versions"):
        raise ConfigError(
            f"'{folder}' already holds a run; go on with it by --resume, or choose another --out"
        )
    arguments = _begun_with(folder, name) if resume else {}
    arguments |= settings_of(function, words)
    if data is not None:
        arguments["data"] = str(data.resolve())
    recipe = make(function, arguments)
    feed = recipe.feed(folder.parent / "samples", console)
    torch.manual_seed(recipe.settings.seed)
    try:
        run = fit(
            recipe.sample,
            recipe.ranker(recipe.sample),
            feed.train,
            rows=recipe.rows,
            init=recipe.init,
            dense=recipe.dense,
            settings=_measured_on_the_way(recipe.settings, feed.train.rows),
            validation=feed.test,
            folder=folder,
            resume=resume,
            config={"recipe": absolute(name), "arguments": arguments},
            console=console,
        )
    except KeyboardInterrupt as stop:
        _broken_off(folder, feed)
        raise KeyboardInterrupt(_way_on(name, folder, bool(stop.args))) from None
    except (DataError, NumericsError):
        _broken_off(folder, feed)
        raise
    run.record(**feed.about)
    run.record(**measured(run, feed))
    if recipe.pages is not None and feed.test.rows > 1:
        run.record(diversity=diversity(run, feed.test, recipe.pages))
    write_report(folder)
    return run


def measured(run: Run, feed: Feed) -> dict[str, Any]:
    """``test`` of the report, and ``truth`` where the feed is simulated: see ``write_report``."""
    found = {"test": run.evaluate(feed.test)}
    return found | ({"truth": truth(run.sample, feed.test)} if feed.simulated else {})


def open_run(folder: Path) -> tuple[Run, dict[str, Any]]:
    """The run in ``folder``, its network made by its recipe, and what its ``config.json`` says."""
    config = read_json(folder / "config.json")
    if "recipe" not in config:
        raise ConfigError(
            f"'{folder}' was not made by a recipe; open it in Python by train.Run.load(folder, ranker)"
        )
    return Run.load(folder, recipe_of(config).ranker), config


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """The recipe that a run's ``config.json`` names, with the settings that it was begun with."""
    return make(find_recipe(config["recipe"]), config.get("arguments", {}))


def live_of(recipe: Recipe) -> Live:
    """The recipe's online side; ConfigError if it has none."""
    if recipe.live is None:
        raise ConfigError(
            "the recipe does not say how its runs go on online; give its Recipe a live=Live(...)"
        )
    return recipe.live


def open_feed(
    folder: Path,
    console: Console,
    *,
    data: Path | None = None,
    first: str | None = None,
    last: str | None = None,
) -> Feed:
    """The feed that the run in ``folder`` was trained and tested on, or the test of another.

    ``data``, ``first``, ``last``: the recipe's settings ``data``, ``test_from``, ``test_to``. Days must come after those
    trained on. With one of the three given, the others are up to the recipe: by default all days after training.
    """
    config, told = read_json(folder / "config.json"), folder / "metrics.json"
    card = (read_json(told).get("data") or {}) if told.exists() else {}  # an online run measures as it goes
    function = find_recipe(config["recipe"])
    given = {"data": data and str(data.resolve()), "test_from": first, "test_to": last}
    asked = {name: value for name, value in given.items() if value is not None}
    days: dict[str, Any] = {}
    if all("days" in card.get(part, {}) for part in ("train", "test")):
        days["train_to"] = card["train"]["days"][1]
        days["test_from"], days["test_to"] = (None, None) if asked else card["test"]["days"]
    as_it_was = {name: day for name, day in days.items() if name in parameters(function)}
    arguments = config.get("arguments", {}) | as_it_was
    return make(function, arguments | asked).feed(folder.parent / "samples", console)


def open_tables(folder: Path) -> Tables:
    """The tables of the newest version of the run in ``folder``; ConfigError if it has none."""
    versions = version.versions(folder / "versions")
    if not versions:
        raise ConfigError(f"'{folder}' has no version; give the folder of a run that has saved one")
    return Tables.load(versions[-1] / "tables")


def newest_run(folder: Path) -> Path:
    """The run below ``folder`` that was begun last; ConfigError if there is none."""
    runs = sorted(folder.glob("*/config.json"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise ConfigError(f"there is no run below '{folder}'; train one, or name one by --run")
    return runs[-1].parent


def _begun_with(folder: Path, name: str) -> dict[str, Any]:
    if not (folder / "config.json").is_file():
        return {}
    config = read_json(folder / "config.json")
    if config.get("recipe") != absolute(name):
        raise ConfigError(
            f"'{folder}' is a run of {config.get('recipe')}, not of {name}; go on with that one"
        )
    return dict(config.get("arguments", {}))


def _measured_on_the_way(settings: Settings, rows: int) -> Settings:
    if settings.evaluate_every:
        return settings
    steps = rows * settings.epochs // settings.batch_size
    steps = min(steps, settings.steps) if settings.steps else steps
    return replace(settings, evaluate_every=max(1, steps // (_EVALUATIONS + 1) + 1))


def _broken_off(folder: Path, feed: Feed) -> None:
    """Say in the report what the run that broke off was trained on, if it had come as far as to begin one."""
    path = folder / "metrics.json"
    if path.is_file():
        write_json(path, {**read_json(path), **feed.about})
        write_report(folder)


def _way_on(name: str, folder: Path, saved: bool) -> str:
    if not version.versions(folder / "versions"):
        return "stopped before there was anything to save"
    done = "stopped, and saved" if saved else "stopped; what was saved before is there"
    return f"{done}; go on by: larix train {shlex.quote(name)} --out {shlex.quote(str(folder))} --resume"
