"""From the words of a command line to a recipe: its name or file, and the settings it takes.

Knows no recipe but by its function, and nothing of what a recipe does.
"""

import ast
import importlib.util
import inspect
import json
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from larix.errors import ConfigError, LarixError
from larix.recipes.kuairand import kuairand
from larix.recipes.recipe import Recipe

_ROOMS = str(Path(__file__).parents[1])

BUILT_IN: dict[str, Callable[..., Recipe]] = {"kuairand": kuairand}


def find_recipe(name: str) -> Callable[..., Recipe]:
    """The function behind ``kuairand`` or ``path/to/file.py:function``; ConfigError says what there is."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    path, _, function = name.rpartition(":") if ".py:" in name else (name, "", "")
    if not path.endswith(".py"):
        raise ConfigError(
            f"there is no recipe '{name}'; the built-in ones are {sorted(BUILT_IN)}, yours is path/to/file.py:function"
        )
    if not Path(path).is_file():
        raise ConfigError(f"recipe file '{path}' does not exist")
    if not function:
        raise ConfigError(f"which function of '{path}' is the recipe? Say {path}:function")
    module_name = f"larix_recipe_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses of the file look themselves up there
    beside = str(Path(path).resolve().parent)
    if beside not in sys.path:  # as when Python is given a file to run; last, so that it hides nothing
        sys.path.append(beside)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(
            f"recipe file '{path}' is not Python: line {error.lineno}: {error.msg}; repair it"
        ) from error
    except LarixError:
        raise
    except Exception as error:
        raise ConfigError(f"recipe file '{path}' cannot be run: {_told(error)}") from error
    found = getattr(module, function, None)
    if not callable(found):
        there = sorted(
            n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__
        )
        raise ConfigError(f"'{path}' has no function '{function}'; it has {there}")
    return found  # type: ignore[no-any-return]


def settings_of(recipe: Callable[..., Recipe], words: Iterable[str]) -> dict[str, Any]:
    """The arguments that ``k=v`` words give to ``recipe``; values are Python literals, anything else is text.

    ConfigError for a word without ``=``, a setting the recipe does not have, or a value of another type than
    the function says.
    """
    known = parameters(recipe)
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"--set {word} is not of the form key=value")
        _check_names([key], known)
        settings[key] = _value(key, text, _types(recipe, known[key]))
    return settings


def make(recipe: Callable[..., Recipe], arguments: Mapping[str, Any]) -> Recipe:
    """What ``recipe`` returns for ``arguments``; ConfigError if they do not fit it or it returns something else."""
    known = parameters(recipe)
    _check_names(arguments, known)
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise ConfigError(f"the recipe's setting '{name}' has no default; give it by --set {name}=...")
    try:
        made = recipe(**arguments)
    except LarixError:
        raise
    except Exception as error:
        raise ConfigError(f"the recipe {recipe.__name__}() cannot be made: {_told(error)}") from error
    if not isinstance(made, Recipe):
        raise ConfigError(
            f"the recipe returned a {type(made).__name__}; it must return a larix.recipes.Recipe"
        )
    return made


def absolute(name: str) -> str:
    """``name`` such that it is found from any folder."""
    path, colon, function = name.rpartition(":")
    return f"{Path(path).resolve()}:{function}" if colon else name


def parameters(recipe: Callable[..., Recipe]) -> dict[str, inspect.Parameter]:
    """The settings of a recipe: what its function can be given by name."""
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {name: p for name, p in inspect.signature(recipe).parameters.items() if p.kind in named}


def _told(error: Exception) -> str:
    """What happened in a recipe's file, and where: the last line of it that was run."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith((_ROOMS, "<"))]
    where = f"{outside[-1].filename}, line {outside[-1].lineno}: " if outside else ""
    return f"{where}{type(error).__name__}: {error}"


def _check_names(names: Iterable[str], known: Mapping[str, inspect.Parameter]) -> None:
    for name in names:
        if name not in known:
            there = ", ".join(n if p.default is p.empty else f"{n}={p.default!r}" for n, p in known.items())
            raise ConfigError(f"the recipe has no setting '{name}'; it has {there or 'none'}")


def _types(recipe: Callable[..., Recipe], parameter: inspect.Parameter) -> tuple[type, ...]:
    """The plain types that a parameter says it takes; empty: any."""
    try:
        hint = typing.get_type_hints(recipe).get(parameter.name)
    except NameError:  # of a name that only type checkers see
        return ()
    if hint is None:
        return () if parameter.default in (None, parameter.empty) else (type(parameter.default),)
    types = typing.get_args(hint) or (hint,)
    return types if all(isinstance(each, type) for each in types) else ()


def _value(key: str, text: str, types: tuple[type, ...]) -> Any:
    try:
        value = ast.literal_eval(text)
        json.dumps(value)  # for it goes into config.json
    except (ValueError, SyntaxError, TypeError):
        value = text
    if not types or type(value) in types or (type(value) is int and float in types):
        return value
    if str in types:
        return text
    names = " or ".join(each.__name__ for each in types)
    raise ConfigError(f"the recipe's setting '{key}' is {names}, got {text!r}")
