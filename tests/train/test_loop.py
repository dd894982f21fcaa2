import threading
import time
from functools import partial

import problem
import pytest
import torch

from larix import train
from larix.data import Stream
from larix.embedding import Tables, TableSpec
from larix.errors import DataError
from larix.model.embed import Embed
from larix.model.loss import Loss
from larix.train.loop import loop
from larix.train.point import Point


class Notes:
    """A watcher that keeps what it is told."""

    def __init__(self):
        self.steps, self.saved, self.evaluated = [], [], []

    def stepped(self, point, losses):
        self.steps.append((point, losses))

    def evaluate(self, point):
        self.evaluated.append(point.step)

    def save(self, point):
        self.saved.append(point.step)

    def unread(self, records, error):
        return error

    def failed(self, point, batch, error):
        return error


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return problem.write(tmp_path_factory.mktemp("feed"), rows=640)


@pytest.fixture
def learner(source):
    sample = problem.sample().fit(source.stream())
    specs = [TableSpec(name=name, dim=dim) for name, dim in sample.tables.items()]
    ranker = problem.ranker(sample)
    return train.Learner(
        ranker=ranker,
        embed=Embed(sample, Tables(specs)),
        optimizer=torch.optim.SGD(ranker.parameters(), lr=0.1),
        loss=Loss(sample.tasks),
    )


def run(learner, source, steps, start=None, **settings):
    stream = source.stream(columns=learner.embed.sample.columns, batch_size=64)
    notes = Notes()
    outcome = loop(
        learner, stream, train.Settings(batch_size=64, **settings), notes, start=start or Point(), steps=steps
    )
    return notes, outcome


@pytest.mark.parametrize("staleness", [0, 2])
def test_every_batch_is_stepped_once_in_order(learner, source, staleness):
    notes, outcome = run(learner, source, 100, staleness=staleness)
    points = [point for point, _ in notes.steps]
    assert [point.step for point in points] == list(range(1, 11))
    assert [point.samples for point in points] == [64 * n for n in range(1, 11)]
    assert [point.position.row for point in points] == [64 * n for n in range(1, 11)]
    assert all(losses.shape == (2,) for _, losses in notes.steps)
    assert outcome.point == points[-1]
    assert not outcome.interrupted
    assert notes.saved == [10]


def test_it_stops_at_the_wanted_step_and_no_row_is_born_after_it(learner, source):
    notes, _ = run(learner, source, 3)
    assert [point.step for point, _ in notes.steps] == [1, 2, 3]
    seen = set()
    for number, records in enumerate(source.stream(batch_size=64)):
        if number < 3:
            seen |= set(records["user_id"].to_pylist())
    assert learner.embed.tables.rows("user") == len(seen)


def test_versions_and_measurements_come_when_they_are_due(learner, source):
    notes, _ = run(learner, source, 10, save_every=4, evaluate_every=3)
    assert notes.saved == [4, 8, 10]
    assert notes.evaluated == [3, 6, 9]


def test_the_time_that_measuring_takes_is_no_time_of_training(learner, source):
    class Slow(Notes):
        def evaluate(self, point):
            time.sleep(0.4)

    stream = source.stream(columns=learner.embed.sample.columns, batch_size=64)
    settings = train.Settings(batch_size=64, evaluate_every=2)
    outcome = loop(learner, stream, settings, Slow(), start=Point(), steps=10)  # five times a second
    assert outcome.point.seconds < 2


def test_nothing_new_is_nothing_to_save(learner, source):
    start = Point(step=5, samples=320, seconds=2.0)
    notes, outcome = run(learner, source, 5, start=start)
    assert notes.saved == []
    assert outcome.point == start


def test_phases_add_up_to_less_than_the_whole(learner, source):
    _, outcome = run(learner, source, 10)
    assert list(outcome.phases) == ["read", "lookup", "dense", "update"]
    assert all(seconds > 0 for seconds in outcome.phases.values())
    assert sum(outcome.phases.values()) <= outcome.point.seconds


def test_no_thread_is_left_behind_however_it_ends(learner, source):
    before = threading.active_count()
    run(learner, source, 2, staleness=1)
    broken = partial(Stream, columns=None, batch_size=64, shuffle=0, seed=0, epoch=0, epochs=1, prefetch=2)

    class Broken:
        fingerprint = "broken"
        projection = source.projection

        def batches(self, columns, *, skip):
            yield from list(source.batches(columns))[:1]
            raise DataError("the disk is gone")

    notes = Notes()
    with pytest.raises(DataError, match="the disk is gone"):
        loop(
            learner,
            broken(Broken(), position=None),
            train.Settings(batch_size=64),
            notes,
            start=Point(),
            steps=10,
        )
    assert notes.saved == [len(notes.steps)] != [0]
    assert threading.active_count() == before
