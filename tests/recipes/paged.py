"""The tiny recipe, with what belongs to an item."""

from dataclasses import replace

import tiny as plain

from larix.feed import MMR, ValueModel, WeightedSum
from larix.recipes.pages import Pages


def pages(**other) -> Pages:
    parts = {
        "value": ValueModel(fusion=WeightedSum(weights={"is_click": 1.0, "long_view": 2.0})),
        "item": "video",
        "columns": ("video_id", "tag", "duration_ms"),
        "diversity": MMR(balance=0.9),
    }
    return Pages(**parts | other)


def tiny(*, data: str | None = None, epochs: int = 1, seed: int = 0):
    return replace(plain.tiny(data=data, epochs=epochs, seed=seed), pages=pages())


def nameless(*, data: str | None = None):
    """Its items are told by their tags."""
    return replace(plain.tiny(data=data), pages=pages(item="tags"))
