"""Recipes: Python functions that return what to train on what, and how a run of one is carried out."""

from larix.recipes.feed import Feed
from larix.recipes.named import find_recipe
from larix.recipes.online import carry_on
from larix.recipes.recipe import Recipe
from larix.recipes.run import carry_out, measured, newest_run, open_feed, open_run, open_tables

__all__ = [
    "Feed",
    "Recipe",
    "carry_on",
    "carry_out",
    "find_recipe",
    "measured",
    "newest_run",
    "open_feed",
    "open_run",
    "open_tables",
]
