import numpy as np
import problem
import pytest
import torch

from larix import features as fx
from larix.data import Position
from larix.embedding import SGD, Tables, TableSpec, reference
from larix.model.embed import Embed
from larix.train.lookahead import Lookahead, Placed
from larix.train.phases import Phases

SAMPLE = fx.Sample(user=fx.Id("user_id", dim=2), tasks=(fx.Binary("is_click"),))
SPEC = TableSpec(name="user", dim=2, optimizer=SGD(lr=1.0))


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    source = problem.write(tmp_path_factory.mktemp("feed"), rows=640, unknown=0)
    stream = source.stream(columns=SAMPLE.columns, batch_size=64)
    return [Placed(SAMPLE.transform(records), stream.position) for records in stream]


def trained(batches, staleness, settle_after=()):
    """Rows seen at each batch, and the table in the end; each update adds the batch's number to its rows."""
    tables = Tables([SPEC], seed=1)
    seen = []
    with Lookahead(Embed(SAMPLE, tables), staleness, Phases()) as lookahead:
        for number, (_, inputs) in enumerate(lookahead(iter(batches)), 1):
            seen.append(inputs.pooled.detach().numpy().copy())
            (-number * inputs.pooled.sum()).backward()
            lookahead.apply(inputs, 1.0)
            if number in settle_after:
                lookahead.settle()
        lookahead.settle()
    return seen, tables.items("user")


def expected(batches, staleness):
    """The same by hand on the oracle: batch n sees exactly the updates up to n - 1 - staleness."""
    tables = reference.Tables([SPEC], seed=1)
    seen, updates = [], []
    for number, placed in enumerate(batches, 1):
        ids = placed.batch.ids["user"].values
        if number - 1 - staleness > 0:
            tables.update("user", *updates[number - 2 - staleness])
        seen.append(tables.lookup("user", ids, insert=True))
        updates.append((ids, np.full((len(ids), 2), -number, np.float32)))
    for ids, grads in updates[max(0, len(batches) - 1 - staleness) :]:
        tables.update("user", ids, grads)
    return seen, tables.items("user")


@pytest.mark.parametrize("staleness", [0, 1, 3, 20])
def test_a_batch_misses_exactly_the_last_updates_that_staleness_allows(batches, staleness):
    seen, items = trained(batches, staleness)
    wanted, wanted_items = expected(batches, staleness)
    assert len(seen) == len(batches) == 10
    for ours, theirs in zip(seen, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    for ours, theirs in zip(items, wanted_items, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_after_settling_the_next_batch_sees_every_update(batches):
    seen, _ = trained(batches, 3, settle_after={5})
    exact, _ = trained(batches[:6], 0)
    rows, _ = trained(batches[:5], 3)
    np.testing.assert_array_equal(seen[4], rows[4])
    tables = reference.Tables([SPEC], seed=1)
    for number, placed in enumerate(batches[:5], 1):
        ids = placed.batch.ids["user"].values
        tables.lookup("user", ids, insert=True)
        tables.update("user", ids, np.full((len(ids), 2), -number, np.float32))
    fresh = tables.lookup("user", batches[5].batch.ids["user"].values, insert=True)
    np.testing.assert_allclose(seen[5], fresh, rtol=1e-6)
    np.testing.assert_allclose(exact[5], fresh, rtol=1e-6)


@pytest.mark.parametrize("staleness", [0, 2])
def test_what_an_update_raises_is_raised_to_the_caller(batches, staleness):
    with Lookahead(Embed(SAMPLE, Tables([SPEC])), staleness, Phases()) as lookahead:
        _, inputs = next(lookahead(iter(batches)))
        inputs.pooled.sum().backward()
        lookahead.apply(inputs, 1.0)
        with pytest.raises(Exception, match="applied before"):  # noqa: PT012
            lookahead.apply(inputs, 1.0)
            lookahead.settle()


@pytest.mark.parametrize("staleness", [0, 2])
def test_fewer_batches_than_staleness_all_come_through(batches, staleness):
    with Lookahead(Embed(SAMPLE, Tables([SPEC])), staleness, Phases()) as lookahead:
        assert [placed for placed, _ in lookahead(iter(batches[:1]))] == batches[:1]
        assert list(lookahead(iter([]))) == []


def test_lookups_and_updates_are_timed(batches):
    phases = Phases()
    with Lookahead(Embed(SAMPLE, Tables([SPEC])), 1, phases) as lookahead:
        for _, inputs in lookahead(iter(batches)):
            inputs.pooled.sum().backward()
            lookahead.apply(inputs, 1.0)
        lookahead.settle()
    assert phases.seconds["lookup"] > 0
    assert phases.seconds["update"] > 0
    assert isinstance(batches[0].position, Position)
    assert torch.is_grad_enabled()
