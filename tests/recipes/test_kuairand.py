from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from rich.console import Console

from larix import train
from larix.batch import Batch
from larix.data import Files, kuairand, synthetic
from larix.embedding import Tables
from larix.features import Sample
from larix.model.embed import Embed
from larix.recipes.kuairand import config, live, sample
from larix.recipes.kuairand import kuairand as recipe
from larix.train.specs import specs_of

DAYS = ("2022-04-25", "2022-04-26", "2022-04-27", "2022-04-28", "2022-04-29")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("recipe")
    feed = synthetic.write(
        folder / "feed", users=500, items=300, new_items=10, days=len(DAYS), impressions=24_000
    )
    return kuairand.prepare(feed, folder / "ready")


@pytest.fixture(scope="module")
def fitted(prepared: Files) -> Sample:
    with prepared.stream(columns=sample().columns) as stream:
        return sample().fit(stream)


@pytest.fixture
def records(prepared: Files) -> pa.RecordBatch:
    with prepared.between(DAYS[-1], DAYS[-1]).stream(columns=sample().columns, batch_size=512) as stream:
        return next(iter(stream))


def logits(fitted: Sample, batch: Batch) -> torch.Tensor:
    """Scores by a network and rows that are born alike in every call, and large enough to tell."""
    torch.manual_seed(3)
    made = recipe()
    ranker = made.ranker(fitted).eval()
    embed = Embed(fitted, Tables(specs_of(fitted, made.rows, made.init), seed=3, threads=2))
    embed(batch, train=True)
    with torch.no_grad():
        scores: torch.Tensor = ranker(embed(batch, train=False))
    return scores


def with_history(records: pa.RecordBatch, column: str, change: np.ndarray) -> pa.RecordBatch:
    """``records`` with flag ``column`` of the events turned over where ``change`` is true."""
    lists = records[column]
    flags = lists.flatten().to_numpy()
    turned = pa.array(np.where(change, 1 - flags, flags).astype(np.int8))
    offsets = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())]).astype(np.int32)
    index = records.schema.get_field_index(column)
    return records.set_column(index, column, pa.ListArray.from_arrays(pa.array(offsets), turned))


def events_age_hours(records: pa.RecordBatch) -> np.ndarray:
    times = records["hist_time_ms"]
    shown = records["time_ms"].to_numpy()[pc.list_parent_indices(times).to_numpy()]
    return (shown - times.flatten().to_numpy()) / 3.6e6


def test_it_gives_a_logit_for_every_task_of_prepared_samples(fitted: Sample, records: pa.RecordBatch) -> None:
    scores = logits(fitted, fitted.transform(records))
    assert scores.shape == (records.num_rows, 5)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("column", ["hist_click", "hist_long_view", "hist_like"])
def test_what_came_of_the_last_two_days_does_not_reach_the_score(
    column: str, fitted: Sample, records: pa.RecordBatch
) -> None:
    age = events_age_hours(records)
    before = logits(fitted, fitted.transform(records))
    fresh = with_history(records, column, age < 47.9)
    torch.testing.assert_close(logits(fitted, fitted.transform(fresh)), before)
    older = with_history(records, column, age > 48.1)
    assert (logits(fitted, fitted.transform(older)) != before).any(dim=1).float().mean() > 0.3


def test_the_users_own_running_counts_are_not_read() -> None:
    assert not [
        name for name in sample().columns if name.startswith("user_") and name.endswith(("ed", "shown"))
    ]


def test_no_label_is_read_but_as_a_label() -> None:
    declared = sample()
    assert {task.column for task in declared.tasks} <= set(declared.label_columns)


def test_every_rate_has_its_two_counts() -> None:
    dense = sample().dense
    assert all(happened in dense and shown in dense for happened, shown in config().rates)
    assert len(config().rates) == 6


def test_arguments_reach_the_settings() -> None:
    made = recipe(seed=7, epochs=3, batch_size=64, rows_lr=0.5, lr=0.25, bf16=True, staleness=2)
    settings = made.settings
    assert (settings.seed, settings.epochs, settings.batch_size) == (7, 3, 64)
    assert (settings.bf16, settings.staleness) == (True, 2)
    assert made.dense([torch.nn.Parameter(torch.zeros(1))]).defaults["lr"] == 0.25
    assert specs_of(made.sample, made.rows, made.init)[0].optimizer.lr == 0.5


def test_the_feed_is_split_by_the_days_given(prepared: Files, tmp_path: Path) -> None:
    made = recipe(data=str(tmp_path / "feed"), train_to="2022-04-26", test_from="2022-04-27")
    synthetic.write(tmp_path / "feed", users=60, items=50, new_items=2, days=4, impressions=600)
    feed = made.feed(tmp_path / "samples", Console(quiet=True))
    assert feed.about["data"]["train"]["days"][1] == "2022-04-26"
    assert feed.about["data"]["test"]["days"] == ["2022-04-27", "2022-04-28"]


def test_it_learns_a_small_feed(prepared: Files, tmp_path: Path) -> None:
    made = recipe(epochs=1, batch_size=64, lr=3e-3)
    torch.manual_seed(0)
    run = train.fit(
        made.sample,
        made.ranker(made.sample),
        prepared.between(DAYS[0], DAYS[-2]),
        rows=made.rows,
        init=made.init,
        dense=made.dense,
        settings=made.settings,
        folder=tmp_path / "run",
    )
    tasks = run.evaluate(prepared.between(DAYS[-1], DAYS[-1]))["tasks"]
    assert tasks["is_click"]["auc"] > 0.6
    assert tasks["long_view"]["auc"] > 0.6


def test_online_what_is_kept_still_is_of_the_user_and_a_replay_knows_its_samples_again(
    prepared: Files,
) -> None:
    declared, ours = sample(), live()
    assert set(ours.still) <= {*declared.id_slots, *declared.sequences}
    items = {
        "video",
        "author",
        "music",
        "tag",
        "tab",
        "hour",
        "duration",
        "video_age",
        "video_type",
        "upload_type",
    }
    assert set(declared.id_slots) - set(ours.still) == items
    unjoin = ours.unjoin(prepared.schema)
    assert {*unjoin.identity, unjoin.time, ours.item} <= set(declared.columns)
    labels = {outcome.label for outcome in unjoin.outcomes}
    assert {task.column for task in declared.tasks} <= labels
    assert not labels & (set(declared.columns) - {task.column for task in declared.tasks})
