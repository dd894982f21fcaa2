import io
import json
import shutil
from pathlib import Path

import numpy as np
import paged
import pytest
from rich.console import Console
from small_feed import TINY

from larix.compile import Eager
from larix.errors import ConfigError
from larix.recipes import carry_out, open_feed
from larix.recipes.bundled import Export, export_run
from larix.serve import parity
from larix.serve.bundle import Bundle
from larix.serve.parity import ParityError
from larix.train import checkpoint

PAGED = f"{Path(paged.__file__)}:tiny"
HOW = {"backend": Eager(), "buckets": (8,), "requests": 20, "candidates": 3}


def quiet():
    return Console(file=io.StringIO(), force_terminal=False)


@pytest.fixture(scope="module")
def run(place, data):
    return carry_out(PAGED, ["epochs=2"], place / "runs" / "bundled", quiet(), data=data)


@pytest.fixture(scope="module")
def bundle(run, place):
    return export_run(run.folder, place / "bundles" / "tiny", quiet(), Export(**HOW))


def test_a_run_becomes_a_bundle_of_what_its_recipe_says(run, bundle):
    assert (bundle.model, bundle.version) == ("bundled", sorted((run.folder / "versions").iterdir())[-1].name)
    assert bundle.sample == run.sample
    assert bundle.value == paged.pages().value
    assert bundle.diversity == paged.pages().diversity
    assert bundle.signature.candidates.names == ["video_id", "tag", "duration_ms"]
    assert bundle.signature.per_request == ("user", "active")
    assert bundle.manifest["vectors"] == "video"
    assert bundle.manifest["training"]["step"] == int(bundle.version.removeprefix("step-"))
    assert not bundle.precision.units


def test_what_it_was_compared_with_is_the_run_s_own_eager_torch(run, bundle):
    """The first candidate of a request is the logged sample itself: `Run.predict` says the same of it."""
    warm = bundle.warm
    predicted = run.score(run.sample.transform(warm.records, labels=False))
    for at, task in enumerate(run.sample.tasks):
        logits = warm.logits[:, 0, at].astype(np.float64)
        said = 1 / (1 + np.exp(-logits)) if task.kind == "binary" else np.expm1(np.maximum(logits, 0))
        np.testing.assert_allclose(said, predicted[task.name], rtol=1e-5, atol=1e-6)
    assert len({tuple(row.values()) for row in warm.records.select(["user_id", "video_id"]).to_pylist()}) > 15


def test_it_keeps_neither_labels_nor_columns_that_are_not_read(run, bundle):
    assert set(bundle.warm.records.schema.names) == set(run.sample.columns) - set(run.sample.label_columns)


def test_it_answers_as_the_run_does_on_other_days(run, bundle):
    with open_feed(run.folder, quiet()).test.stream(batch_size=50) as stream:
        records = next(iter(stream)).slice(30)
    loaded, signature = bundle.load(), bundle.signature
    predicted = run.score(run.sample.transform(records, labels=False))
    for row in range(len(records)):
        one = records.slice(row, 1)
        context, _ = signature.context_of({name: one[name][0].as_py() for name in signature.context.names}, 0)
        candidates, _ = signature.candidates_of(
            {name: one[name].to_pylist() for name in signature.candidates.names}
        )
        (logits,) = loaded.score([loaded.look_up(loaded.user(context), candidates)])
        said = 1 / (1 + np.exp(-logits[0, 0].astype(np.float64)))
        assert said == pytest.approx(predicted["is_click"][row], abs=1e-5)


def test_the_newest_version_is_exported(place, data, run):
    again = carry_out(PAGED, ["epochs=3"], place / "runs" / "longer", quiet(), data=data)
    longer = export_run(again.folder, place / "bundles" / "longer", quiet(), Export(**HOW, model="feed"))
    assert longer.model == "feed"
    assert longer.stamp.version > sorted((run.folder / "versions").iterdir())[0].name


def test_lower_precision_is_chosen_by_what_it_costs_and_recorded(run, place):
    how = Export(**HOW, precision="int8", auc_loss=0.01)
    small = export_run(run.folder, place / "bundles" / "small", quiet(), how)
    told = small.manifest["parity"]["held_out"]
    assert small.precision.units
    assert small.precision.measured["auc_loss"] <= 0.01
    assert told["auc_loss"] <= 0.01
    assert told["calibration"] <= 0.01
    assert small.manifest["rows"]["precision"] == "int8"
    assert Bundle.open(small.folder).check().error <= small.bound


def test_what_differs_from_training_leaves_nothing(run, place, monkeypatch):
    compare = parity.check_logits
    monkeypatch.setattr(parity, "check_logits", lambda *given: compare(*given[:3], -1.0))
    with pytest.raises(ParityError):
        export_run(run.folder, place / "bundles" / "never", quiet(), Export(**HOW))
    assert not list((place / "bundles").glob("*never*"))


def test_a_recipe_that_does_not_tell_items_from_requests_is_told_so(place, data):
    run = carry_out(TINY, ["steps=2"], place / "runs" / "unpaged", quiet(), data=data)
    with pytest.raises(ConfigError, match=r"give its Recipe a pages=Pages\(\.\.\.\)"):
        export_run(run.folder, place / "bundles" / "never", quiet(), Export(**HOW))


def test_items_must_be_named_by_one_column(run, place):
    config = json.loads((run.folder / "config.json").read_text())
    named = config | {
        "recipe": config["recipe"].replace(":tiny", ":nameless"),
        "arguments": {"data": config["arguments"]["data"]},
    }
    other = shutil.copytree(run.folder, place / "runs" / "nameless")
    (other / "config.json").write_text(json.dumps(named))
    with pytest.raises(ConfigError, match="which names no items"):
        export_run(other, place / "bundles" / "never", quiet(), Export(**HOW))


@pytest.mark.parametrize("wrong", [{"requests": 0}, {"candidates": 0}])
def test_samples_to_compare_on_must_be_some(wrong):
    with pytest.raises(ConfigError, match="1 or more of each"):
        Export(**wrong)


def test_an_online_run_is_exported_with_its_line_and_its_mark(run, place, monkeypatch):
    """What a follower of deltas goes on from."""
    load = checkpoint.load

    def online(folder):
        found = load(folder)
        history = {"online": {"history": "line 3", "mark": 2**63 + 5, "event_ms": 1_651_000_000_000}}
        return checkpoint.Checkpoint(found.path, found.files, {**found.state, "history": history})

    monkeypatch.setattr("larix.recipes.bundled.checkpoint.load", online)
    bundle = export_run(run.folder, place / "bundles" / "online", quiet(), Export(**HOW))
    assert bundle.stamp.history == "line 3"
    assert bundle.stamp.event_ms == 1_651_000_000_000
    assert bundle.manifest["training"]["mark"] == 2**63 + 5
