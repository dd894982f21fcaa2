"""A recipe carried out, from samples to report, and its run found again by what the run folder says of it.

Knows recipes by name only; knows nothing of data sets or networks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from larix.embedding import Tables
from larix.errors import ConfigError
from larix.recipes.feed import truth
from larix.recipes.named import absolute, find_recipe, settings_of
from larix.train import Run, fit, version
from larix.train.report import write_report
from larix.train.run import read_json


def carry_out(
    name: str, words: Sequence[str], folder: Path, console: Console, *, resume: bool = False
) -> Run:
    """Train the recipe ``name`` with the settings in ``words`` in the run folder ``folder``, test it, write its report.

    Raises ConfigError for a wrong name or word, and what ``train.fit`` raises.
    """
    function = find_recipe(name)
    arguments = settings_of(function, words)
    recipe = function(**arguments)
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
            settings=recipe.settings,
            folder=folder,
            resume=resume,
            config={"recipe": absolute(name), "arguments": arguments},
            console=console,
        )
    except KeyboardInterrupt:
        write_report(folder)
        raise KeyboardInterrupt(
            f"stopped, and saved; go on by: larix train {name} --out {folder} --resume"
        ) from None
    run.record(test=run.evaluate(feed.test), **feed.about)
    if feed.simulated:
        run.record(truth=truth(run.sample, feed.test))
    write_report(folder)
    return run


def open_run(folder: Path) -> tuple[Run, dict[str, Any]]:
    """The run in ``folder``, its network made by its recipe, and what its ``config.json`` says."""
    config = read_json(folder / "config.json")
    if "recipe" not in config:
        raise ConfigError(
            f"'{folder}' was not made by a recipe; open it in Python by train.Run.load(folder, ranker)"
        )
    return Run.load(folder, find_recipe(config["recipe"])(**config["arguments"]).ranker), config


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
        raise ConfigError(f"there is no run below {folder}/; train one, or name one by --run")
    return runs[-1].parent
