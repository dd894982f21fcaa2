import numpy as np
import problem
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trainer import fit

from larix import data
from larix.errors import ConfigError, StorageError
from larix.train import Run
from larix.train.run import read_json, write_json


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return problem.write(tmp_path_factory.mktemp("feed") / "data")


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    return fit(source, tmp_path_factory.mktemp("run"), steps=40, average=0.9)


def test_a_run_loaded_from_its_folder_predicts_the_same(source, run):
    for ranker in (problem.Ranker, problem.ranker(run.sample, seed=99)):
        again = Run.load(run.folder, ranker)
        assert again.sample == run.sample
        assert again.settings == run.settings
        assert again.predict(source).equals(run.predict(source))
        assert again.evaluate(source) == run.evaluate(source)


def test_predictions_are_probabilities_and_seconds_beside_the_keys_in_the_order_of_the_source(source, run):
    table = run.predict(source)
    assert table.column_names == ["user_id", "tab", "time_ms", "is_click", "play_ms"]
    rows = pa.Table.from_batches(list(source.stream()))
    for key in ("user_id", "tab", "time_ms"):
        assert table[key].to_pylist() == rows[key].to_pylist()
    click, play = (table[name].to_numpy() for name in ("is_click", "play_ms"))
    assert ((click > 0) & (click < 1)).all()
    assert np.corrcoef(play, rows["play_ms"].to_numpy() / 1000)[0, 1] > 0.8


def test_predictions_need_no_labels(source, run, tmp_path):
    rows = pa.Table.from_batches(list(source.stream()))
    pq.write_table(rows.drop_columns(["is_click", "play_ms"]), tmp_path / "x.parquet")
    assert run.predict(data.files(tmp_path)).equals(run.predict(source))


def test_predictions_go_to_a_parquet_file_batch_by_batch(source, run, tmp_path):
    assert run.predict_to(source, tmp_path / "out.parquet") == 3000
    assert pq.read_table(tmp_path / "out.parquet").equals(run.predict(source))
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    with pytest.raises(StorageError, match="cannot be written"):
        run.predict_to(source, tmp_path / "nowhere" / "out.parquet")


def test_without_rows_there_is_nothing_to_predict(source, run, tmp_path):
    nothing = source.between("1971-01-01", "1971-01-02")
    for predict in (run.predict, lambda empty: run.predict_to(empty, tmp_path / "out.parquet")):
        with pytest.raises(ConfigError, match="no rows to predict"):
            predict(nothing)
    assert list(tmp_path.iterdir()) == []


def test_what_is_recorded_stands_beside_what_was_measured(run):
    steps = run.metrics["steps"]
    run.record(test={"tasks": {}})
    assert run.metrics["test"] == {"tasks": {}}
    assert run.metrics["steps"] == steps


def test_a_folder_without_a_version_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has no version to load"):
        Run.load(tmp_path, problem.Ranker)


def test_a_json_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, 2.5, None]})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": [1, 2.5, None]}
    path.write_text("{")
    with pytest.raises(StorageError, match=r"x\.json' cannot be read"):
        read_json(path)
    path.write_text("[1]")
    with pytest.raises(StorageError, match=r"x\.json' is damaged: it holds a list"):
        read_json(path)
