import io
import json
import os
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from rich.console import Console
from small_feed import DAYS, TINY

from larix import train
from larix.errors import ConfigError
from larix.recipes import carry_out, find_recipe, newest_run, open_feed, open_run, open_tables
from larix.train import checkpoint


def quiet():
    return Console(file=io.StringIO())


def carried(place, data, name, *words, **more):
    return carry_out(TINY, words, place / "runs" / name, quiet(), data=data, **more)


@pytest.fixture(scope="module")
def run(place, data):
    """A finished run; not to be changed."""
    return carried(place, data, "kept", "epochs=2")


def same(one, other):
    """Whether two runs' newest versions are equal to the bit."""
    found = [checkpoint.load(folder / "versions") for folder in (one, other)]
    names = ("ranker.safetensors", "average.safetensors", "optimizer.safetensors", "generators.safetensors")
    stores = [open_tables(folder) for folder in (one, other)]
    return all(found[0].files[name] == found[1].files[name] for name in names) and all(
        np.array_equal(mine, theirs)
        for table in stores[0].specs
        for mine, theirs in zip(stores[0].items(table), stores[1].items(table), strict=True)
    )


def test_measuring_on_the_test_days_changes_no_bit_of_a_run(place, data, run):
    recipe = find_recipe(TINY)(data=str(data), epochs=2)
    feed = recipe.feed(place / "runs" / "samples", quiet())
    torch.manual_seed(recipe.settings.seed)
    plain = train.fit(
        recipe.sample,
        recipe.ranker(recipe.sample),
        feed.train,
        rows=recipe.rows,
        dense=recipe.dense,
        settings=recipe.settings,
        folder=place / "plain",
    )
    assert plain.metrics["evaluations"] == []
    assert len(run.metrics["evaluations"]) >= 5
    assert same(plain.folder, run.folder)
    assert not same(plain.folder, carried(place, data, "other seed", "epochs=2", "seed=1").folder)


def test_a_run_is_measured_a_few_times_evenly_and_at_its_end(run):
    steps = [entry["step"] for entry in run.metrics["evaluations"]]
    last = run.metrics["steps"][-1]["step"]
    assert 5 <= len(steps) <= 7
    assert steps[-1] == last
    assert len({after - before for before, after in pairwise(steps[:-1])}) == 1


def test_a_recipe_may_say_how_often_it_is_measured(place, data, tmp_path):
    path = tmp_path / "often.py"
    path.write_text(
        "from dataclasses import replace\nfrom tiny import tiny\n"
        "def often(*, data: str | None = None):\n"
        "    made = tiny(data=data, steps=6)\n"
        "    return replace(made, settings=replace(made.settings, evaluate_every=2))\n"
    )
    run = carry_out(f"{path}:often", [], place / "runs" / "often", quiet(), data=data)
    assert [entry["step"] for entry in run.metrics["evaluations"]] == [2, 4, 6]
    assert open_feed(run.folder, quiet()).test.rows == run.metrics["data"]["test"]["rows"]
    with pytest.raises(ConfigError, match=r"no setting 'test_from'; it has data=None$"):
        open_feed(run.folder, quiet(), first=DAYS[3])


def test_a_run_that_stopped_and_went_on_equals_one_that_did_not(place, data, run):
    steps = run.metrics["steps"][-1]["step"]
    carried(place, data, "stopped", "epochs=2", "steps=7")
    on = carry_out(TINY, [f"steps={steps}"], place / "runs" / "stopped", quiet(), resume=True)
    assert same(on.folder, run.folder)
    assert on.metrics["test"] == run.metrics["test"]


def test_an_interrupt_before_the_first_save_says_that_there_is_nothing(place, data, tmp_path):
    path = tmp_path / "stops.py"
    path.write_text(
        "from dataclasses import replace\nfrom tiny import Net, tiny\n"
        "class Stops(Net):\n    def forward(self, inputs):\n        raise KeyboardInterrupt\n"
        "def stops(*, data: str | None = None):\n    return replace(tiny(data=data), ranker=Stops)\n"
    )
    with pytest.raises(KeyboardInterrupt, match="stopped before there was anything to save"):
        carry_out(f"{path}:stops", [], tmp_path / "run", quiet(), data=data)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["data"]["synthetic"]


def test_a_run_is_opened_with_the_ranker_of_its_recipe(run):
    opened, config = open_run(run.folder)
    assert config["recipe"] == TINY
    for name, weight in run.ranker.state_dict().items():
        assert torch.equal(opened.ranker.state_dict()[name], weight)


def test_the_feed_of_a_run_is_opened_as_it_was_even_if_defaults_would_be_others(place, data, run):
    days = run.metrics["data"]
    again = open_feed(run.folder, quiet()).about["data"]
    assert again == days
    later = open_feed(run.folder, quiet(), first=DAYS[3]).about["data"]
    assert later["train"] == days["train"]
    assert later["test"]["days"] == [DAYS[3], DAYS[3]]
    earlier = open_feed(run.folder, quiet(), last=DAYS[2]).about["data"]
    assert earlier["train"] == days["train"]
    assert earlier["test"]["days"] == [DAYS[2], DAYS[2]]


def test_a_run_made_without_a_recipe_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="was not made by a recipe"):
        open_run(tmp_path)


def test_a_run_whose_recipe_changed_its_settings_is_told(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["arguments"]["gone"] = 1
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="no setting 'gone'"):
        open_run(tmp_path / "run")


def test_the_newest_run_is_the_one_begun_last(tmp_path):
    with pytest.raises(ConfigError, match="no run below"):
        newest_run(tmp_path)
    for number, name in enumerate(("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        os.utime(tmp_path / name / "config.json", (number, number))
    assert newest_run(tmp_path) == tmp_path / "a"
