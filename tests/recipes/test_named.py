import sys
from pathlib import Path

import pytest
from small_feed import TINY

from larix.errors import ConfigError
from larix.recipes import Recipe
from larix.recipes.kuairand import kuairand
from larix.recipes.named import absolute, find_recipe, make, settings_of


def typed(
    *,
    epochs: int = 1,
    lr: float = 0.1,
    data: str | None = None,
    bf16: bool = False,
    limit: int | None = None,
    widths: tuple[int, ...] = (8,),
) -> Recipe: ...


def untyped(data=None, epochs=2, name="x", *, must): ...


@pytest.fixture
def mine(tmp_path):
    """Write a recipe file and return its path."""

    def write(text: str) -> Path:
        (tmp_path / "mine.py").write_text(text)
        return tmp_path / "mine.py"

    return write


def test_a_built_in_recipe_is_found_by_name():
    assert find_recipe("kuairand") is kuairand


def test_a_file_is_a_recipe_by_its_function():
    recipe = make(find_recipe(TINY), {"seed": 4})
    assert recipe.settings.seed == 4


def test_a_recipe_file_may_declare_dataclasses(mine):
    path = mine(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass(kw_only=True)\nclass Config:\n    width: int = 3\ndef f(): ...\n"
    )
    assert find_recipe(f"{path}:f")


def test_what_is_no_recipe_is_told_with_what_there_is(mine, tmp_path):
    path = mine("import json\nfrom os.path import join\ndef one(): ...\ndef two(): ...\nx = 3\n")
    for name, why in (
        ("kuairnd", r"no recipe 'kuairnd'; the built-in ones are \['kuairand'\]"),
        (f"{tmp_path}/none.py:f", "does not exist"),
        (f"{path}", r"which function .* Say .*mine\.py:function"),
        (f"{path}:three", r"no function 'three'; it has \['one', 'two'\]"),
        (f"{path}:x", "no function 'x'"),
    ):
        with pytest.raises(ConfigError, match=why):
            find_recipe(name)


def test_a_file_that_is_not_python_is_told_by_line(mine):
    path = mine("x = 1\nx = = 2\n")
    with pytest.raises(ConfigError, match="is not Python: line 2: "):
        find_recipe(f"{path}:f")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("epochs=3", 3),
        ("lr=1e-3", 1e-3),
        ("lr=1", 1),
        ("bf16=True", True),
        ("data=a/b=c", "a/b=c"),
        ("data=2022", "2022"),
        ("data=None", None),
        ("data=2022-05-04", "2022-05-04"),
        ("limit=7", 7),
        ("widths=(1, 2)", (1, 2)),
    ],
)
def test_a_word_becomes_a_value_of_the_type_that_the_recipe_says(word, value):
    assert settings_of(typed, [word]) == {word.partition("=")[0]: value}
    assert type(settings_of(typed, [word]).popitem()[1]) is type(value)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("epochs=two", "'epochs' is int, got 'two'"),
        ("epochs=1.5", "'epochs' is int, got '1.5'"),
        ("epochs=True", "'epochs' is int, got 'True'"),
        ("bf16=1", "'bf16' is bool, got '1'"),
        ("limit=x", "'limit' is int or NoneType, got 'x'"),
        ("epochs", "--set epochs is not of the form key=value"),
        ("epoch=3", "no setting 'epoch'; it has epochs=1, lr=0.1, data=None, bf16=False,"),
    ],
)
def test_a_word_that_does_not_fit_is_told(word, why):
    with pytest.raises(ConfigError, match=why):
        settings_of(typed, [word])


def test_without_types_the_defaults_tell_them_and_without_either_anything_goes():
    words = ["epochs=3", "name=7", "data=7", "must={1, 2}"]
    assert settings_of(untyped, words) == {"epochs": 3, "name": "7", "data": 7, "must": "{1, 2}"}
    with pytest.raises(ConfigError, match=r"no setting 'x'; it has data=None, epochs=2, name='x', must$"):
        settings_of(untyped, ["x=1"])


def test_the_last_of_two_words_for_one_setting_counts():
    assert settings_of(typed, ["epochs=3", "epochs=4"]) == {"epochs": 4}


def test_arguments_that_do_not_fit_and_what_is_no_recipe_are_told():
    with pytest.raises(ConfigError, match="no setting 'gone'"):
        make(typed, {"gone": 1})
    with pytest.raises(ConfigError, match="'must' has no default; give it by --set must="):
        make(untyped, {})
    with pytest.raises(ConfigError, match=r"returned a NoneType; it must return a larix\.recipes.Recipe"):
        make(typed, {})


def test_a_name_is_made_to_be_found_from_any_folder(monkeypatch):
    path = Path(TINY.rpartition(":")[0])
    monkeypatch.chdir(path.parent)
    assert absolute(f"{path.name}:tiny") == TINY
    assert absolute("kuairand") == "kuairand"


def test_what_goes_wrong_in_a_recipe_file_is_told_by_its_line(mine):
    path = mine("import nowhere_at_all\n")
    with pytest.raises(
        ConfigError, match=r"mine.py' cannot be run: .*mine.py, line 1: ModuleNotFoundError: No module"
    ):
        find_recipe(f"{path}:f")
    path = mine("def deep():\n    return [][3]\n\n\ndef f():\n    return deep()\n")
    with pytest.raises(
        ConfigError, match=r"the recipe f\(\) cannot be made: .*mine.py, line 2: IndexError: list index"
    ):
        make(find_recipe(f"{path}:f"), {})
    path = mine("from larix.recipes import Recipe\n\n\ndef f():\n    return Recipe(sample=None)\n")
    with pytest.raises(ConfigError, match=r"mine.py, line 5: TypeError: .*missing 2 required"):
        make(find_recipe(f"{path}:f"), {})


def test_a_mistake_that_a_recipe_tells_itself_is_told_as_it_is(mine):
    path = mine("from larix.errors import ConfigError\n\n\ndef f():\n    raise ConfigError('so not')\n")
    with pytest.raises(ConfigError, match=r"^so not$"):
        make(find_recipe(f"{path}:f"), {})


def test_a_recipe_file_imports_what_lies_beside_it(mine, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_networks_of_a_test.py").write_text("WIDTH = 7\n")
    path = mine("from own_networks_of_a_test import WIDTH\n\n\ndef f(): return WIDTH\n")
    assert find_recipe(f"{path}:f")() == 7
