"""Recipes: Python functions that return what to train on what, and how a run of one is carried out."""

from larix.recipes.carry_out import carry_out, newest_run, open_run, open_tables
from larix.recipes.feed import Feed
from larix.recipes.load import load
from larix.recipes.recipe import Recipe

__all__ = ["Feed", "Recipe", "carry_out", "load", "newest_run", "open_run", "open_tables"]
