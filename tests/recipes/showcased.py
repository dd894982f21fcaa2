"""The tiny recipe, with what guests of a showcase need."""

from dataclasses import replace

import paged

from larix.data import kuairand_since


def tiny(*, data: str | None = None, steps: int = 0):
    recipe = paged.plain.tiny(data=data, steps=steps)
    acts = {"like": {"is_click": 1, "long_view": 1, "play_time_ms": 9000}, "skip": {"play_time_ms": 300}}
    live = replace(recipe.live, since=kuairand_since.since, acts=acts, ignored={"play_time_ms": 100})
    return replace(recipe, pages=paged.pages(columns=("video_id", "tag", "duration_ms")), live=live)
