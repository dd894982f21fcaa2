import warnings

import numpy as np
import problem
import pytest
import torch
from trainer import fit

from larix.batch import Batch
from larix.errors import ConfigError
from larix.model.embed import Embed
from larix.model.metrics import Metrics
from larix.train import evaluate, predict


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    source = problem.write(tmp_path_factory.mktemp("feed") / "data")
    return source, fit(source, tmp_path_factory.mktemp("run"), steps=40)


def test_metrics_are_those_of_the_scores_one_batch_at_a_time(run):
    source, trained = run
    metrics = Metrics(trained.sample.tasks)
    embed = Embed(trained.sample, trained.tables)
    for records in source.stream(batch_size=100):
        batch: Batch = trained.sample.transform(records)
        with torch.no_grad():
            scores = trained.ranker.eval()(embed(batch, train=False)).numpy()
        metrics.update(scores, batch.labels, batch.weight, batch.group, batch.scene)
    wanted, found = metrics.compute(), evaluate(trained.ranker, embed, source, batch_size=333)
    assert found["samples"] == wanted["samples"] == 3000
    for task in ("is_click", "play_ms"):
        for name, value in wanted["tasks"][task].items():
            if isinstance(value, float):
                assert found["tasks"][task][name] == pytest.approx(value, rel=1e-4)
    assert set(found["scenes"]) == {"0", "1", "2"}


def test_measuring_and_predicting_change_neither_rows_nor_weights_nor_the_mode(run):
    _, trained = run
    other = problem.write(trained.folder / "other", rows=100, seed=9)  # holds ids that are not known
    embed = Embed(trained.sample, trained.tables)
    before = [trained.tables.items(name) for name in trained.tables.specs]
    weights = [weight.clone() for weight in trained.ranker.parameters()]
    trained.ranker.train()
    draws = torch.get_rng_state()
    evaluate(trained.ranker, embed, other)
    list(predict(trained.ranker, embed, other))
    assert trained.ranker.training
    assert torch.equal(torch.get_rng_state(), draws)
    assert all(torch.equal(*pair) for pair in zip(weights, trained.ranker.parameters(), strict=True))
    for table, was in zip(trained.tables.specs, before, strict=True):
        for one, two in zip(trained.tables.items(table), was, strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_batch_in_memory_is_scored_as_the_file_it_came_from(run):
    source, trained = run
    trained.ranker.train()
    (records,) = source.stream(batch_size=3000)
    found = trained.score(trained.sample.transform(records, labels=False))
    wanted = trained.predict(source)
    assert trained.ranker.training
    assert found.keys() == {task.name for task in trained.sample.tasks}
    for name, values in found.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, wanted[name].to_numpy(), rtol=1e-5)


def test_a_ranker_that_gives_the_wrong_shape_is_refused(run):
    source, trained = run
    embed = Embed(trained.sample, trained.tables)

    class OneLogit(torch.nn.Module):
        def forward(self, inputs):
            return inputs.dense

    with pytest.raises(ConfigError, match=r"gave \[512, 1\] for 512 samples and 2 tasks"):
        evaluate(OneLogit(), embed, source, batch_size=512)


def test_a_logit_far_below_0_is_the_probability_0_without_a_warning(run):
    source, trained = run
    embed = Embed(trained.sample, trained.tables)

    class Sure(torch.nn.Module):
        def forward(self, inputs):
            return torch.full((len(inputs.dense), 2), -200.0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (first, *_) = predict(Sure(), embed, source)
    assert first["is_click"].to_pylist() == [0.0] * len(first)
