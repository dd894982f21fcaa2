import math
import threading
import time
from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import served
import shop
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from served import expected, request, stamped

from larix import features as fx
from larix.compile import Forms, Graph, Input
from larix.compile.graph import Rows
from larix.errors import ConfigError, DataError
from larix.feed import ValueModel, WeightedSum
from larix.serve import Request
from larix.serve.engine import Pages, Target, stages
from larix.serve.engine.job import Job
from larix.serve.loaded import Loaded, _by_rows, _measured

SAMPLE = shop.sample()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("forms")


@pytest.fixture(scope="module")
def model(folder):
    """Its rows stay at their first state."""
    return served.loaded(folder, item="item")


@pytest.fixture
def moving(model):
    """The same network over rows of the test's own."""
    rows = served.replica(SAMPLE)
    return Loaded(SAMPLE, model.signature, rows, model._forms, stamp=stamped(dense=1))


def net():
    return served.Net(SAMPLE)


def truth(rows, context, candidates, of=None):
    return expected(SAMPLE, of or net(), rows, context, candidates)


def look(model, count, seed):
    context, candidates = request(count, seed)
    return model.look_up(model.user(context), candidates), (context, candidates)


def assert_near(found, wanted):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 4, 7, 16, 41])
def test_a_request_in_halves_scores_as_the_ranker_itself_does(model, count):
    looked, records = look(model, count, seed=count)
    (logits,) = model.score([looked])
    assert_near(logits, truth(model.rows, *records))
    assert (
        looked.user.size_bytes
        == sum(each.nbytes for each in looked.user.arrays.values()) + looked.user.shared.nbytes
    )
    assert looked.user.size_bytes < 1000


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=7), st.booleans())
def test_several_requests_get_each_its_own_scores_whether_they_share_a_run_or_not(model, sizes, shared):
    costs = model._alone, model._together
    told = (9.0, 1.0) if shared else (1.0, 99.0)
    model._alone, model._together = (_by_rows(dict.fromkeys(served.BUCKETS, each)) for each in told)
    try:
        many = [look(model, size, seed) for seed, size in enumerate(sizes)]
        found = model.score([looked for looked, _ in many])
        assert (model._plan(sorted(size for size in sizes if size))[0] > 0) == (
            shared and sum(size > 0 for size in sizes) > 1
        )
    finally:
        model._alone, model._together = costs
    assert [len(each) for each in found] == sizes
    for logits, (_, records) in zip(found, many, strict=True):
        if len(logits):
            assert_near(logits, truth(model.rows, *records))


def test_a_user_is_computed_once_and_scored_against_again_while_the_rows_go_on(moving):
    context, candidates = request(6)
    user = moving.user(context)
    kept = {name: each.copy() for name, each in user.arrays.items()}
    first = moving.look_up(user, candidates)
    served.step(moving.rows, SAMPLE)
    second = moving.look_up(user, candidates)
    assert [each.stamp.rows for each in (user, first, second)] == [1, 1, 2]
    assert moving.stamp == stamped(dense=1)(2)
    before, after = moving.score([first, second])
    assert_near(before, truth(served.replica(SAMPLE), context, candidates))
    assert np.abs(before - after).max() > 0.01, "the candidates' rows are those of the second state"
    assert np.abs(after - truth(moving.rows, context, candidates)).max() > 0.01, "the user's are of the first"
    for name, value in kept.items():
        np.testing.assert_array_equal(user.arrays[name], value)


def test_another_network_over_the_same_rows_answers_at_once_and_takes_no_user_of_the_old(moving, tmp_path):
    other = served.Net(SAMPLE, seed=5)
    old, (context, candidates) = look(moving, 9, seed=3)
    fresh = moving.with_network(served.forms(tmp_path, other, SAMPLE), stamped(dense=2))
    assert fresh.rows is moving.rows
    assert (moving.stamp.dense, fresh.stamp.dense) == (1, 2)
    looked = fresh.look_up(fresh.user(context), candidates)
    assert_near(fresh.score([looked])[0], truth(moving.rows, context, candidates, other))
    assert_near(moving.score([old])[0], truth(moving.rows, context, candidates))
    with pytest.raises(AssertionError, match="another network"):
        fresh.look_up(old.user, candidates)
    with pytest.raises(AssertionError, match="another network"):
        fresh.score([looked, old])
    assert fresh.seconds((9,)) == moving.seconds((9,))
    rows = served.replica(SAMPLE)
    served.step(rows, SAMPLE)
    elsewhere = moving.with_network(moving._forms, stamped(dense=1), rows)
    assert (moving.stamp.rows, elsewhere.stamp.rows) == (1, 2)
    assert_near(
        elsewhere.score([elsewhere.request(context, candidates)])[0], truth(rows, context, candidates)
    )


def test_both_sides_of_a_request_are_of_one_state_while_a_writer_goes_on(moving):
    """Every weight of a state is its number: what is looked up tells which state it is of."""
    served.step(moving.rows, SAMPLE, 2.0)
    over, wrong, seen = threading.Event(), [], Counter()
    context, candidates = request(5)

    def ask():
        while not over.is_set():
            looked = moving.request(context, candidates)
            pooled = looked.arrays["joined.candidate"][:, :8]
            history = looked.user.arrays  # a network's values: equal states give equal ones
            number = looked.stamp.rows
            seen[number] += 1
            if not (pooled == number).all() or looked.user.stamp != looked.stamp:
                wrong.append(number)
            states.setdefault(number, []).append(history)

    states = {}
    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(3, 3000):
        served.step(moving.rows, SAMPLE, float(number))
        if number > 60 and len(seen) > 3:  # readers may hardly get a turn on a busy machine
            break
    over.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert len(seen) > 3, "too few states were seen to tell anything"
    for several in states.values():
        for one in several[1:]:
            assert all(np.array_equal(one[name], value) for name, value in several[0].items())


def test_ids_without_a_row_and_values_not_given_are_counted_by_slot(model):
    ours = model.signature
    events = {"seen": [1, 2, 10**7], "seen_rating": [0.5, None, 0.1], "seen_ms": [1, 2, 3]}
    context, _ = ours.context_of({"user_id": 10**6, "tab": 1, "time_ms": 5, **events}, 0)
    user = model.user(context)
    assert user.scene == 1
    assert user.missing == {"user": 1, "last": 1, "age": 1, "history.item": 1, "history.rating": 1}
    candidates, _ = ours.candidates_of([{"item_id": 3}, {"item_id": 10**6, "kind": "other", "price": 2.0}])
    looked = model.look_up(user, candidates)
    assert looked.missing["item"] == 1
    assert looked.missing["pair"] == 2  # of a hash of both, which nobody has trained on
    assert looked.missing["kind"] == 2  # one is not given, the other has no row
    assert looked.missing["cost"] == 1
    assert np.isfinite(model.score([looked])[0]).all()


def holes(model, counts, seed):
    """Requests some of whose values are null or have no row; ``counts``: of candidates."""
    draw, ours = np.random.default_rng(seed), model.signature

    def hole(name, value):
        if name == "seen_rating":
            return [None if draw.random() < 0.3 else each for each in value]
        if name == "user_id" and draw.random() < 0.3:
            return 10**6
        return None if name in ours.optional - {"seen", "seen_ms"} and draw.random() < 0.3 else value

    def pierced(batch, schema):
        columns = zip(schema, batch.columns, strict=True)
        arrays = [
            pa.array([hole(of.name, each) for each in array.to_pylist()], of.type) for of, array in columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    made = [request(count, seed + at) for at, count in enumerate(counts)]
    return [(pierced(mine, ours.context), pierced(theirs, ours.candidates)) for mine, theirs in made]


def same(one, other):
    """Two looked-up requests are equal, bit for bit; what a network made of several users at once, but for its rounding."""
    assert (one.rows, one.stamp, one.missing) == (other.rows, other.stamp, other.missing)
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert array.tobytes() == other.arrays[name].tobytes()
        assert array.shape == other.arrays[name].shape
    assert one.vectors.tobytes() == other.vectors.tobytes()
    mine, theirs = one.user, other.user
    assert (mine.stamp, mine.scene, mine.missing) == (theirs.stamp, theirs.scene, theirs.missing)
    assert mine.network is theirs.network
    assert mine.shared.equals(theirs.shared)
    assert mine.arrays.keys() == theirs.arrays.keys()
    for name, array in mine.arrays.items():
        assert array.dtype == theirs.arrays[name].dtype
        assert array.shape == theirs.arrays[name].shape
        np.testing.assert_allclose(array, theirs.arrays[name], rtol=1e-5, atol=1e-6)
    assert mine.size_bytes == theirs.size_bytes


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 6), max_size=6), st.integers(0, 2**32))
def test_requests_looked_up_together_are_as_each_alone(model, counts, seed):
    asked = holes(model, counts, seed)
    together = model.requests(asked)
    assert len(together) == len(asked)
    for found, each in zip(together, asked, strict=True):
        alone = model.request(*each)
        same(found, alone)
        assert_near(model.score([found])[0], model.score([alone])[0])


def test_one_that_does_not_fit_among_several_is_told_as_it_would_be_alone(model):
    good, (context, candidates) = request(3), request(2, seed=1)
    without = context.set_column(
        context.schema.get_field_index("user_id"), "user_id", pa.array([1], pa.int32())
    )
    for wrong, told in (
        ((pa.concat_batches([context] * 2), candidates), "the context has 2 rows; it is one"),
        ((without, candidates), "go one by one"),
        ((context, candidates.drop_columns(["tags"])), "go one by one"),
    ):
        with pytest.raises(DataError, match=told):
            model.requests([good, wrong])
    at = context.schema.get_field_index("seen_ms")
    short = context.set_column(at, context.schema.field(at), pa.array([[1] * 9], context.schema.types[at]))
    with pytest.raises(DataError, match="hold lists of"):
        model.requests([good, (short, candidates)])


def test_the_engine_looks_up_together_and_answers_each_though_one_of_them_is_wrong(model):
    good = [request(2 + at, seed=at) for at in range(6)]
    context, candidates = good[2]
    at = context.schema.get_field_index("seen_ms")
    bad = context.set_column(at, context.schema.field(at), pa.array([[1] * 9], context.schema.types[at]))
    pages = Pages(tasks=model.tasks, value=ValueModel(fusion=WeightedSum(weights={"click": 1.0})))
    target = Target(scorer=model, pages=pages)
    assert target.joint

    def job(mine, theirs):
        asked = Request(id="1", context=mine, candidates=theirs)
        return Job(
            target=target, request=asked, context=mine, deadline=math.inf, arrived=0.0, rows=len(theirs)
        )

    jobs = [job(*each) for each in [*good, (bad, candidates)]]
    *found, told = stages._sparse(jobs)
    (alone,) = stages._sparse(jobs[-1:])
    assert type(told) is type(alone) is DataError
    assert str(told) == str(alone)
    for looked, each in zip(found, good, strict=True):
        same(looked, model.request(*each))


def test_vectors_are_the_rows_of_the_items(model):
    looked, (_, candidates) = look(model, 6, seed=1)
    np.testing.assert_array_equal(
        looked.vectors, model.rows.lookup("item", candidates["item_id"].to_numpy().astype(np.int64))
    )
    assert looked.vectors.flags.c_contiguous
    bare = Loaded(SAMPLE, model.signature, model.rows, model._forms, stamp=stamped())
    assert look(bare, 6, seed=1)[0].vectors is None


def test_costs_are_measured_and_the_cheapest_way_is_taken(model):
    assert model.buckets == served.BUCKETS
    assert 0 < model.seconds((1,)) == model.seconds((4,)) <= model.seconds((16,))
    assert model.seconds((20,)) == model.seconds((16,)) + model.seconds((4,))
    assert model.seconds(()) == model.seconds((0,)) == 0.0
    costs = model._alone, model._together
    try:
        model._alone, model._together = _by_rows({4: 2.0, 16: 3.0}), _by_rows({4: 2.5, 16: 3.5})
        assert model._plan([4, 4]) == (2, 3.5)
        assert model._plan([2]) == (0, 2.0)
        assert model._plan([4, 4, 16]) == (2, 6.5)
        assert model.seconds((16, 4, 4)) == 6.5
        assert model._plan([12, 16]) == (0, 6.0)
    finally:
        model._alone, model._together = costs


def test_what_a_run_pays_for_others_before_it_counts_for_nobody(monkeypatch):
    """By a clock of its own: a run takes a second, and five more if another was the last."""
    now, last = [0.0], [None]

    def run(kind, graph, given):
        rows = given if isinstance(given, list) else [given]
        bucket = kind, sum(len(next(iter(each.values()))) for each in rows)
        now[0] += 1.0 if last[0] == bucket else 6.0
        last[0] = bucket

    class Form:
        buckets = (4, 16)

        def __init__(self, kind):
            self.graph = Graph((Input("x", (Rows(1), 2), torch.float32, ()),), (), ())
            self.run = self.run_together = partial(run, kind, self.graph)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    found = _measured(Forms(None, Form("alone"), Form("together")))
    assert found == ({4: 1.0, 16: 1.0}, {4: 1.0, 16: 1.0})


def test_many_threads_get_each_its_own_answers(model):
    many = [look(model, 1 + seed % 9, seed) for seed in range(12)]
    wanted = [truth(model.rows, *records) for _, records in many]
    wrong = []

    def ask(offset):
        for turn in range(20):
            at = (offset * 5 + turn) % 12
            pair = [at, (at + 3) % 12]
            again = model.request(*many[at][1])
            found = model.score([again, many[pair[1]][0]])
            for logits, of in zip(found, pair, strict=True):
                if not np.allclose(logits, wanted[of], rtol=1e-4, atol=1e-5):
                    wrong.append(of)

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_context_is_one_row_and_the_signatures(model):
    context, candidates = request(3)
    for rows in (0, 2):
        with pytest.raises(DataError, match=f"the context has {rows} rows; it is one"):
            model.user(pa.concat_batches([context] * rows) if rows else context.slice(0, 0))
    with pytest.raises(DataError, match="'item_id'"):
        model.look_up(model.user(context), candidates.drop_columns(["item_id"]))


def test_parts_of_different_models_are_refused(model, tmp_path):
    with pytest.raises(ConfigError, match=r"item 'user' is no slot of the candidates \['item', "):
        Loaded(SAMPLE, model.signature, model.rows, model._forms, stamp=stamped(), item="user")
    wider = dict(SAMPLE.features) | {"kind": fx.Id("kind", dim=3)}
    keys = {name: getattr(SAMPLE, name) for name in ("tasks", "group", "scene", "time")}
    with pytest.raises(ConfigError, match="they are not of one model"):
        Loaded(fx.Sample(**wider, **keys), model.signature, model.rows, model._forms, stamp=stamped())
    short = served.Net(SAMPLE)
    short.out = torch.nn.Linear(16, 1)
    with pytest.raises(ConfigError, match="but there are 2 tasks"):
        model.with_network(served.forms(tmp_path, short, SAMPLE), stamped())
