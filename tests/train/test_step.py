from dataclasses import replace
from itertools import pairwise

import numpy as np
import problem
import pytest
import torch
from torch import nn

from larix.embedding import SGD, Tables, TableSpec
from larix.errors import ConfigError, DataError, NumericsError
from larix.model.embed import Embed
from larix.model.loss import Loss
from larix.train import Learner, Settings, step


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return problem.write(tmp_path_factory.mktemp("feed"))


@pytest.fixture(scope="module")
def sample(source):
    return problem.sample().fit(source.stream())


@pytest.fixture(scope="module")
def batches(source, sample):
    return [sample.transform(records) for records in source.stream(batch_size=128)]


def learner_of(sample, lr=0.5, optimizer=torch.optim.SGD, **network):
    specs = [TableSpec(name=name, dim=dim, optimizer=SGD(lr=lr)) for name, dim in sample.tables.items()]
    ranker = problem.ranker(sample, **network)
    return Learner(
        ranker=ranker,
        embed=Embed(sample, Tables(specs, seed=3)),
        optimizer=optimizer(ranker.parameters(), lr=lr),
        loss=Loss(sample.tasks),
    )


class Eager(nn.Module):
    """The same network with its rows as plain torch parameters: what the steps must equal."""

    def __init__(self, sample, net, rows):
        super().__init__()
        self.net = net
        self.index = {name: {int(i): n for n, i in enumerate(ids)} for name, (ids, _) in rows.items()}
        self.tables = nn.ParameterDict(
            {name: nn.Parameter(torch.from_numpy(w)) for name, (_, w) in rows.items()}
        )

    def rows(self, table, ids):
        return self.tables[table][[self.index[table][int(i)] for i in ids]]

    def forward(self, batch):
        tags, past = batch.ids["tags"], batch.sequences["history"]
        parts = [self.rows("user", batch.ids["user"].values), self.rows("video", batch.ids["video"].values)]
        rows = self.rows("tags", tags.values)
        parts.append(self.means(rows, tags.offsets))
        rows = torch.cat([self.rows("video", past.ids["video"]), torch.from_numpy(past.dense)], dim=1)
        return self.net(
            torch.cat([*parts, torch.from_numpy(batch.dense), self.means(rows, past.offsets)], dim=1)
        )

    def means(self, rows, offsets):
        zero = torch.zeros(rows.shape[1])
        pairs = pairwise(offsets)
        return torch.stack([rows[a:b].mean(0) if b > a else zero for a, b in pairs])


def test_steps_equal_a_plain_loop_in_torch(sample, batches):
    learner = learner_of(sample, dropout=0.0)
    twin = problem.ranker(sample, dropout=0.0)
    for batch in batches:  # every row is born before the rows are copied
        learner.embed(batch, train=True)
    rows = {name: learner.embed.tables.items(name)[:2] for name in sample.tables}
    eager = Eager(sample, twin.net, rows)
    optimizer = torch.optim.SGD(eager.parameters(), lr=0.5)

    for batch in batches[:10]:
        ours = step(learner, batch, learner.embed(batch, train=True), Settings())
        logits, labels = eager(batch), torch.from_numpy(batch.labels)
        known = ~labels[:, 0].isnan()
        click = nn.functional.binary_cross_entropy_with_logits(logits[known, 0], labels[known, 0])
        play = nn.functional.huber_loss(logits[:, 1], labels[:, 1].log1p())
        optimizer.zero_grad()
        (click + play).backward()
        optimizer.step()
        np.testing.assert_allclose(ours.tolist(), [click.item(), play.item()], rtol=2e-5)

    for ours, theirs in zip(learner.ranker.parameters(), eager.net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    for name in sample.tables:
        ids, weights, _ = learner.embed.tables.items(name)
        np.testing.assert_array_equal(ids, rows[name][0])
        np.testing.assert_allclose(weights, eager.tables[name].detach().numpy(), rtol=1e-4, atol=1e-6)


def test_a_label_that_is_not_known_moves_nothing(sample, batches):
    learner = learner_of(sample, dropout=0.0)
    unknown = replace(batches[0], labels=np.full_like(batches[0].labels, np.nan))
    weights = [weight.clone() for weight in learner.ranker.parameters()]
    inputs = learner.embed(unknown, train=True)
    rows = learner.embed.tables.items("user")[1]
    assert step(learner, unknown, inputs, Settings()).tolist() == [0, 0]
    assert all(torch.equal(*pair) for pair in zip(weights, learner.ranker.parameters(), strict=True))
    np.testing.assert_array_equal(learner.embed.tables.items("user")[1], rows)

    half = batches[0].labels.copy()
    half[:, 1] = np.nan  # only clicks are known: the other task's own weights stay
    step(learner, replace(unknown, labels=half), learner.embed(unknown, train=True), Settings())
    head = learner.ranker.net[3].weight
    assert not torch.equal(head[0], weights[2][0])
    assert torch.equal(head[1], weights[2][1])


def test_a_sample_of_weight_two_counts_as_two(sample, batches):
    first = batches[0]
    twice = np.ones(first.size, np.float32)
    twice[0] = 2
    learners = [learner_of(sample, dropout=0.0) for _ in range(2)]
    for learner, weight in zip(learners, [twice, 5 * twice], strict=True):
        weighted = replace(first, weight=weight)
        step(learner, weighted, learner.embed(weighted, train=True), Settings())
    for one, other in zip(*(learner.ranker.parameters() for learner in learners), strict=True):
        torch.testing.assert_close(one, other)  # only the proportions count


def test_learning_rates_are_scaled_apart(sample, batches):
    full, scaled = learner_of(sample, dropout=0.0), learner_of(sample, dropout=0.0)
    start = problem.ranker(sample, dropout=0.0)
    step(full, batches[0], full.embed(batches[0], train=True), Settings())
    inputs = scaled.embed(batches[0], train=True)
    rows = scaled.embed.tables.items("user")[1]
    step(scaled, batches[0], inputs, Settings(), dense_scale=0.5, rows_scale=0.25)
    for was, one, other in zip(*(m.parameters() for m in (start, full.ranker, scaled.ranker)), strict=True):
        torch.testing.assert_close((one - was) / 2, other - was, rtol=1e-3, atol=1e-6)
    moved = [learner.embed.tables.items("user")[1] - rows for learner in (full, scaled)]
    np.testing.assert_allclose(moved[0] / 4, moved[1], rtol=1e-3, atol=1e-7)
    step(scaled, batches[0], scaled.embed(batches[0], train=True), Settings())
    assert scaled.optimizer.param_groups[0]["lr"] == 0.5  # scales do not pile up


def test_gradients_are_clipped(sample, batches):
    learner = learner_of(sample, lr=1.0, dropout=0.0)
    before = torch.cat([weight.detach().flatten().clone() for weight in learner.ranker.parameters()])
    inputs = learner.embed(batches[0], train=True)
    rows = learner.embed.tables.items("video")[1]
    step(learner, batches[0], inputs, Settings(clip_norm=1e-3, clip_rows=1e-6))
    after = torch.cat([weight.detach().flatten() for weight in learner.ranker.parameters()])
    assert torch.norm(after - before).item() == pytest.approx(1e-3, rel=1e-2)
    most = max(len(batches[0].ids["video"].values), 1) * 1e-6
    moved = np.abs(learner.embed.tables.items("video")[1] - rows)
    assert 0 < moved.max() <= most


def test_bfloat16_comes_close_to_float32(sample, batches):
    losses = []
    for bf16 in (False, True):
        learner = learner_of(sample, dropout=0.0)
        for batch in batches[:20]:
            loss = step(learner, batch, learner.embed(batch, train=True), Settings(bf16=bf16))
        assert loss.dtype == torch.float32
        losses.append(loss)
    assert not torch.equal(*losses)
    torch.testing.assert_close(*losses, rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    ("poison", "what"),
    [("weight", "the loss is nan"), ("label", "the loss is inf"), ("grad", "a gradient of the rows")],
)
def test_a_number_that_is_not_finite_stops_the_step_before_it_changes_anything(sample, batches, poison, what):
    learner = learner_of(sample, dropout=0.0)
    batch = batches[0]
    inputs = learner.embed(batch, train=True)
    if poison == "weight":
        with torch.no_grad():
            learner.ranker.net[3].bias[0] = torch.nan
    elif poison == "label":
        labels = batch.labels.copy()
        labels[5, 1] = np.inf
        batch = replace(batch, labels=labels)
    else:
        inputs.pooled.register_hook(lambda grad: grad.index_fill(0, torch.tensor([2]), torch.nan))
    weights = [weight.clone() for weight in learner.ranker.parameters()]
    rows = learner.embed.tables.items("user")[1]
    with pytest.raises(NumericsError, match=what):
        step(learner, batch, inputs, Settings())
    for one, other in zip(weights, learner.ranker.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    np.testing.assert_array_equal(learner.embed.tables.items("user")[1], rows)


def test_a_batch_without_labels_is_refused(sample, batches):
    learner = learner_of(sample)
    with pytest.raises(DataError, match="labels=True"):
        step(learner, replace(batches[0], labels=None), learner.embed(batches[0], train=True), Settings())


@pytest.mark.parametrize(
    ("wrong", "gave"),
    [
        (lambda logits: logits[:, 0], r"\[128\]"),
        (lambda logits: logits[:, :1], r"\[128, 1\]"),
        (lambda x: (x,), "a tuple"),
    ],
)
def test_outputs_that_are_no_logit_a_sample_and_task_are_refused(sample, batches, wrong, gave):
    learner = learner_of(sample)
    inner = learner.ranker.forward
    learner.ranker.forward = lambda inputs: wrong(inner(inputs))
    with pytest.raises(ConfigError, match=f"the ranker gave {gave} for 128 samples and 2 tasks"):
        step(learner, batches[0], learner.embed(batches[0], train=True), Settings())
