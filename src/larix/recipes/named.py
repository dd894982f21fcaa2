"""From the words of a command line to a recipe: its name or file, and the settings it takes.

Knows no recipe but by its function, and nothing of what a recipe does.
"""

import ast
import importlib.util
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from larix.errors import ConfigError
from larix.recipes.kuairand import kuairand
from larix.recipes.recipe import Recipe

BUILT_IN: dict[str, Callable[..., Recipe]] = {"kuairand": kuairand}


def find_recipe(name: str) -> Callable[..., Recipe]:
    """The function behind ``kuairand`` or ``path/to/file.py:function``; ConfigError says what there is."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    path, _, function = name.partition(":")
    if not path.endswith(".py"):
        raise ConfigError(
            f"there is no recipe '{name}'; the built-in ones are {sorted(BUILT_IN)}, yours is path/to/file.py:function"
        )
    if not Path(path).is_file():
        raise ConfigError(f"recipe file {path} does not exist")
    if not function:
        raise ConfigError(f"which function of {path} is the recipe? Say {path}:function")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        there = sorted(
            n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__
        )
        raise ConfigError(f"{path} has no function '{function}'; it has {there}")
    return found  # type: ignore[no-any-return]


def settings_of(recipe: Callable[..., Recipe], words: Iterable[str]) -> dict[str, Any]:
    """The arguments that ``k=v`` words give to ``recipe``; values are Python literals, anything else is text.

    ConfigError for a word without ``=`` or a setting the recipe does not have.
    """
    known = [p.name for p in inspect.signature(recipe).parameters.values() if p.kind is p.KEYWORD_ONLY]
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"--set {word} is not of the form key=value")
        if key not in known:
            raise ConfigError(f"the recipe has no setting '{key}'; it has {known}")
        try:
            settings[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            settings[key] = text
    return settings


def absolute(name: str) -> str:
    """``name`` such that it is found from any folder."""
    path, colon, function = name.partition(":")
    return f"{Path(path).resolve()}:{function}" if colon else name
