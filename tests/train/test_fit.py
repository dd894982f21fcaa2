import json
from functools import partial

import numpy as np
import problem
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from trainer import fit

from larix import data, train
from larix import features as fx
from larix.embedding import FeatureScore, LeastRecent, Tables, reference
from larix.errors import ConfigError, DataError, NumericsError
from larix.model.loss import LossConfig
from larix.train import checkpoint, read_batch


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return problem.write(tmp_path_factory.mktemp("feed") / "data")


@pytest.mark.parametrize(
    "settings", [{}, {"staleness": 2}, {"bf16": True}, {"average": 0.9}], ids=lambda s: str(*s) or "plain"
)
def test_training_learns(source, tmp_path, settings):
    run = fit(source, tmp_path, epochs=4, batch_size=64, log_every=20, **settings)
    steps = run.metrics["steps"]
    assert steps[-1]["loss"]["is_click"] < 0.75 * steps[0]["loss"]["is_click"]
    assert steps[-1]["loss"]["play_ms"] < 0.2 * steps[0]["loss"]["play_ms"]
    found = run.evaluate(source)["tasks"]
    assert found["is_click"]["auc"] > 0.85
    assert found["play_ms"]["xauc"] > 0.9


def test_the_native_tables_and_the_oracle_train_alike_to_the_bit(source, tmp_path):
    runs = [
        fit(source, tmp_path / store.__module__, steps=40, store=store)
        for store in (Tables, reference.Tables)
    ]
    ours, oracle = (run.metrics["steps"] for run in runs)
    assert [entry["loss"] for entry in ours] == [entry["loss"] for entry in oracle]
    for one, other in zip(*(run.ranker.parameters() for run in runs), strict=True):
        assert torch.equal(one, other)
    for name in runs[0].tables.specs:
        for one, other in zip(*(run.tables.items(name) for run in runs), strict=True):
            np.testing.assert_array_equal(one, other)


def test_one_seed_gives_one_run_and_another_seed_another(source, tmp_path):
    runs = [fit(source, tmp_path / str(n), steps=20, seed=seed) for n, seed in enumerate((1, 1, 2))]
    losses = [run.metrics["steps"][-1]["loss"] for run in runs]
    assert losses[0] == losses[1] != losses[2]


def test_a_loss_weight_of_zero_trains_the_other_task_only(source, tmp_path):
    run = fit(source, tmp_path, epochs=2, loss=LossConfig(weights={"is_click": 0.0}), log_every=20)
    first, last = run.metrics["steps"][0]["loss"], run.metrics["steps"][-1]["loss"]
    assert last["play_ms"] < 0.3 * first["play_ms"]
    assert last["is_click"] > 0.65  # no better than knowing nothing: ln 2


def test_held_out_samples_are_measured_along_the_way(source, tmp_path):
    declared = problem.sample()
    run = train.fit(
        declared,
        problem.ranker(declared),
        source.between("1970-01-01", "1970-01-01"),
        validation=source.between("1970-01-02", "1970-01-02"),
        settings=train.Settings(batch_size=64, evaluate_every=10, staleness=1),
        folder=tmp_path,
    )
    entries = run.metrics["evaluations"]
    assert [entry["step"] for entry in entries] == [10, 20, run.metrics["steps"][-1]["step"]]
    assert entries[-1]["tasks"]["is_click"]["auc"] > 0.5


def test_measuring_along_the_way_changes_no_training(source, tmp_path):
    declared = problem.sample()

    def losses(name, **more):
        run = train.fit(
            declared,
            problem.ranker(declared),
            source,
            settings=train.Settings(batch_size=64, steps=20, evaluate_every=5),
            folder=tmp_path / name,
            **more,
        )
        return [entry["loss"] for entry in run.metrics["steps"]]

    assert losses("measured", validation=source) == losses("not measured")


def test_the_run_folder_says_what_was_told_and_what_was_measured(source, tmp_path):
    run = fit(source, tmp_path, steps=5)
    assert run.config["settings"]["batch_size"] == 64
    assert run.config["dense"]["kind"] == "AdamW"
    assert run.config["dense"]["lr"] == 0.01
    assert run.config["rows"]["user"]["optimizer"]["kind"] == "RowAdagrad"
    metrics = run.metrics
    assert metrics["state"] == "finished"
    assert metrics["tables"]["user"]["rows"] == run.tables.rows("user") > 0
    assert metrics["tables"]["user"]["bytes"] == metrics["tables"]["user"]["rows"] * 9 * 4
    assert metrics["dense_parameters"] == sum(weight.numel() for weight in run.ranker.parameters())
    assert set(metrics["phases"]) == {"read", "lookup", "dense", "update"}
    assert metrics["peak_rss_bytes"] > 2**26
    assert metrics["steps"][-1]["samples"] == 5 * 64


def test_a_console_sees_speed_and_losses(source, tmp_path):
    console = Console(record=True, width=140, file=open("/dev/null", "w"), force_terminal=True)  # noqa: SIM115
    fit(source, tmp_path, steps=20, console=console)
    shown = console.export_text()
    assert "samples/s" in shown
    assert "is_click 0." in shown
    assert "100%" in shown


def test_numbers_that_are_not_finite_stop_the_run_with_the_batch_and_the_state_saved(source, tmp_path):
    with pytest.raises(
        NumericsError, match=r"step \d+: .* is (nan|inf).*failed-step-\d+\.safetensors'"
    ) as stopped:
        fit(source, tmp_path, lr=1e30, dropout=0.0)
    (path,) = tmp_path.glob("failed-step-*.safetensors")
    assert str(path) in str(stopped.value)
    batch = read_batch(path)
    assert batch.size == 64
    assert batch.labels.shape == (64, 2)
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"]
    found = checkpoint.load(tmp_path / "versions")
    assert path.name == f"failed-step-{found.point.step + 1}.safetensors"


def test_a_bad_label_in_the_middle_of_the_data_stops_the_run_with_the_state_saved(tmp_path):
    problem.write(tmp_path / "data", rows=640)
    table = pq.read_table(tmp_path / "data" / "b.parquet")
    labels = table["is_click"].to_pylist()
    labels[100] = 7
    spot = table.schema.get_field_index("is_click")
    pq.write_table(
        table.set_column(spot, "is_click", pa.array(labels, pa.int8())), tmp_path / "data" / "b.parquet"
    )
    with pytest.raises(DataError, match="is_click"):
        fit(data.files(tmp_path / "data"), tmp_path / "run", shuffle=0)
    assert checkpoint.load(tmp_path / "run" / "versions").point.samples == 384  # the bad one is number 420


def test_labels_of_the_click_task_go_into_the_scores_of_rows(source, tmp_path):
    run = train.fit(
        declared := problem.sample(),
        problem.ranker(declared),
        source,
        eviction=FeatureScore(show=0.0, click=1.0),
        settings=train.Settings(batch_size=64, steps=10, shuffle=0, click="is_click"),
        folder=tmp_path / "run",
        store=reference.Tables,
    )
    clicked = dict.fromkeys(range(40), 0.0)
    for row in source.stream(columns=("user_id", "is_click"), batch_size=640).__next__().to_pylist():
        clicked[row["user_id"]] += row["is_click"] or 0
    users = run.tables._tables["user"]
    assert {i: users.score[place] for i, place in users.places.items()} == {
        i: clicks for i, clicks in clicked.items() if i in users.places
    }
    assert run.config["rows"]["user"]["eviction"]["kind"] == "FeatureScore"


@pytest.fixture
def many_users(tmp_path):
    """Files in which hardly a user is seen twice on a day, and none of the users of one day on another."""
    table = pq.read_table(problem.write(tmp_path / "small", rows=4000).paths[0])
    rng = np.random.default_rng(0)
    many = table.set_column(
        table.column_names.index("user_id"), "user_id", pa.array(rng.integers(0, 2**40, len(table)))
    )
    (tmp_path / "many").mkdir()
    for part in range(20):
        shifted = pa.array(many["user_id"].to_numpy() + part)
        pq.write_table(many.set_column(0, "user_id", shifted), tmp_path / "many" / f"{part}.parquet")
    return data.files(tmp_path / "many")


def within(source, folder, epochs=1, **settings):
    declared = problem.sample(dim=64)
    return train.fit(
        declared,
        problem.ranker(declared),
        source,
        settings=train.Settings(batch_size=256, shuffle=0, log_every=10, threads=1, epochs=epochs),
        folder=folder,
        **settings,
    )


def test_a_run_within_a_memory_budget_says_what_it_evicted_and_can_be_repeated(many_users, tmp_path):
    first, second = (
        within(many_users, tmp_path / name, eviction=LeastRecent(), memory_budget="5MiB")
        for name in ("first", "second")
    )
    stores = [entry["store"] for entry in first.metrics["steps"]]
    assert sum(entry["evicted"] for entry in stores) > 10_000
    assert max(entry["bytes"] for entry in stores) <= 5 << 20
    assert stores == [entry["store"] for entry in second.metrics["steps"]]
    assert first.metrics["steps"][-1]["loss"] == second.metrics["steps"][-1]["loss"]


def test_a_run_whose_rows_go_to_disk_is_the_one_that_all_memory_gives(many_users, tmp_path):
    free = within(many_users, tmp_path / "free", epochs=2)
    tight = within(many_users, tmp_path / "tight", epochs=2, memory_budget="8MiB", cold=tmp_path / "cold")
    stores = [entry["store"] for entry in tight.metrics["steps"]]
    assert max(entry["bytes"] for entry in stores) <= 8 << 20
    stats = tight.tables.stats()
    assert (stats.rows, stats.lost) == (free.tables.stats().rows, 0)
    assert stats.cold.rows > 0.5 * stats.rows
    assert stats.cold.recalled > 0.5 * stats.rows
    assert tight.metrics["steps"][-1]["loss"] == free.metrics["steps"][-1]["loss"]
    for name in free.tables.specs:
        for left, right in zip(free.tables.items(name), tight.tables.items(name), strict=True):
            assert left.tobytes() == right.tobytes()


def test_a_click_task_that_is_none_is_refused(source, tmp_path):
    with pytest.raises(
        ConfigError, match=r"Settings.click is 'play_ms', which is no binary task; .*is_click"
    ):
        fit(source, tmp_path, click="play_ms")


def test_a_folder_that_holds_a_run_is_not_written_over(source, tmp_path):
    fit(source, tmp_path, steps=2)
    with pytest.raises(ConfigError, match="already holds a run; go on with it by resume=True"):
        fit(source, tmp_path, steps=2)


def test_resuming_on_other_data_or_another_sample_is_refused(source, tmp_path):
    fit(source, tmp_path, steps=2)
    with pytest.raises(ConfigError, match="another order of rows"):
        fit(source, tmp_path, steps=4, seed=9, resume=True)
    other = problem.sample(dim=4).fit(source.stream())
    with pytest.raises(ConfigError, match="not the one that"):
        train.fit(other, problem.ranker(other), source, folder=tmp_path, resume=True)


def test_a_source_without_rows_is_refused(source, tmp_path):
    declared = problem.sample().fit(source.stream())
    with pytest.raises(DataError, match="no rows to train on"):
        train.fit(
            declared, problem.ranker(declared), source.between("1971-01-01", "1971-01-02"), folder=tmp_path
        )


def test_a_learning_rate_that_the_optimizer_refuses_is_told(source, tmp_path):
    with pytest.raises(ConfigError, match=r"refuses its settings: Invalid learning rate: -1"):
        fit(source, tmp_path, lr=-1.0)


def test_a_learning_rate_that_is_a_tensor_is_refused(source, tmp_path):
    declared = problem.sample()
    with pytest.raises(ConfigError, match="lr is a tensor"):
        train.fit(
            declared,
            problem.ranker(declared),
            source,
            dense=partial(torch.optim.AdamW, lr=torch.tensor(0.1)),
            folder=tmp_path,
        )


def test_a_run_that_another_has_trained_meanwhile_is_not_trained_over(source, tmp_path, monkeypatch):
    def late(folder):
        fit(source, tmp_path, steps=2)  # between the look for a run and taking the folder

    with monkeypatch.context() as patched:
        before = checkpoint.load
        calls = iter([late, before])
        patched.setattr(checkpoint, "load", lambda folder: next(calls)(folder))
        with pytest.raises(ConfigError, match=r"another process has trained in .*resume=True"):
            fit(source, tmp_path, steps=5)
    assert checkpoint.load(tmp_path / "versions").point.step == 2


def test_a_sample_without_a_task_is_refused_and_makes_no_folder(source, tmp_path):
    untold = fx.Sample(user=fx.Id("user_id", dim=4))
    with pytest.raises(ConfigError, match="no task to learn; give it one, as Sample"):
        train.fit(untold, torch.nn.Linear(4, 1), source, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
