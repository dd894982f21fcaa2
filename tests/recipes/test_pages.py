import io
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from small_feed import TINY

from larix.errors import ConfigError
from larix.feed import ValueModel, WeightedSum
from larix.recipes import carry_out, find_recipe, open_feed
from larix.recipes.kuairand import pages as kuairand_pages
from larix.recipes.pages import Pages, diversity, requests

PAGES = Pages(
    value=ValueModel(fusion=WeightedSum(weights={"is_click": 1.0, "play_time_ms": 0.01})),
    item="video",
    columns=("video_id", "tag", "duration_ms"),
    categories=("video", "tags"),
)


def quiet():
    return Console(file=io.StringIO(), force_terminal=False)


@pytest.fixture(scope="module")
def run(place, data):
    return carry_out(TINY, [], place / "runs" / "paged", quiet(), data=data)


@pytest.fixture(scope="module")
def test(run):
    return open_feed(run.folder, quiet()).test


def test_candidates_are_different_items_shown_before_and_scored_for_the_user_who_asks(run, test):
    asked = requests(run, test, PAGES, asked=12, candidates=20)
    assert len(asked) == 12
    rows = [row for batch in test.stream() for row in batch.to_pylist()]
    for request in asked:
        items = request.categories["video"].values
        assert 0 < len(items) == len(np.unique(items)) <= 20
        np.testing.assert_array_equal(request.vectors, run.tables.lookup("video", items))
    seen = {row["video_id"] for row in rows}
    assert {item for request in asked for item in request.categories["video"].values.tolist()} <= seen


def test_scores_are_those_of_the_request_with_the_items_columns(run, test):
    """The last request's scores, from rows put together by hand."""
    request = requests(run, test, PAGES, asked=10**6, candidates=15)[-1]
    table = pa.Table.from_batches(list(test.stream()))
    rows = table.to_pylist()
    *before, asking = rows
    shown = {row["video_id"]: row for row in before}
    made = [
        asking | {name: shown[item][name] for name in PAGES.columns}
        for item in request.categories["video"].values.tolist()
    ]
    batch = run.sample.transform(pa.RecordBatch.from_pylist(made, schema=table.schema), labels=False)
    found = run.score(batch)
    expected = found["is_click"].astype(float) + 0.01 * found["play_time_ms"]
    np.testing.assert_allclose(request.relevance, expected, rtol=1e-5)


def test_requests_are_a_function_of_the_seed(run, test):
    first, again, other = (requests(run, test, PAGES, asked=5, seed=seed) for seed in (1, 1, 2))
    for mine, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(mine.relevance, same.relevance)
    assert any(
        len(a.relevance) != len(b.relevance) or (a.relevance != b.relevance).any()
        for a, b in zip(first, other, strict=True)
    )


def test_the_report_says_what_each_method_costs(run, test):
    found = diversity(run, test, PAGES, count=6, window=3, asked=20, candidates=30)
    assert found["curves"].keys() == {"MMR", "DPP", "SSD"}
    assert found["page"] == 6
    assert found["candidates"] == 30
    for curve in found["curves"].values():
        assert curve[0]["given_up"] == pytest.approx(0, abs=0.01)  # items without a row come last by DPP
        assert curve[-1]["distance"] > curve[0]["distance"]
        assert curve[0]["coverage"]["video"] == 6
        assert curve[0].keys() == {"setting", "relevance", "given_up", "distance", "coverage"}


def test_a_recipe_with_pages_has_them_in_its_report(place, data, tmp_path):
    path = tmp_path / "paged.py"
    path.write_text(
        "from dataclasses import replace\nfrom tiny import tiny\nfrom test_pages import PAGES\n"
        "def paged(*, data: str | None = None):\n    return replace(tiny(data=data, steps=4), pages=PAGES)\n"
    )
    sys.modules.setdefault("test_pages", sys.modules[__name__])
    run = carry_out(f"{path}:paged", [], place / "runs" / "in report", quiet(), data=data)
    assert run.metrics["diversity"]["curves"]["SSD"]
    assert "What diversity costs" in (run.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"item": "videos"}, "slot 'videos'"),
        ({"categories": ("author",)}, "slot 'author'"),
        ({"columns": ("video_id", "music_id")}, r"columns \['music_id'\]"),
        ({"value": ValueModel(fusion=WeightedSum(weights={"is_like": 1.0}))}, r"weighs \['is_like'\]"),
        ({"item": "tags"}, "does not hold one id"),
    ],
)
def test_what_the_sample_does_not_have_is_named(run, test, change, said):
    pages = replace(PAGES, **change)
    with pytest.raises(ConfigError, match=said):
        requests(run, test, pages)
    if change != {"item": "tags"}:  # which only the samples tell
        with pytest.raises(ConfigError, match=said):
            replace(find_recipe(TINY)(), pages=pages)


def test_the_kuairand_recipe_speaks_of_its_own_slots_columns_and_tasks():
    recipe = find_recipe("kuairand")()
    assert recipe.pages == kuairand_pages()
    recipe.pages.check(recipe.sample)
    # Nothing of the user, the time or the scene.
    assert not {"user_id", "tab", "time_ms"} & set(recipe.pages.columns)
    assert not [
        name for name in recipe.pages.columns if name.startswith(("hist_", "past_", "onehot", "user_"))
    ]
