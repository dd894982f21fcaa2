"""A follower beside others: whose replica was loaded otherwise, and whoever else is told of its messages."""

from dataclasses import replace

import pytest
from messages import SPECS, Beside, Reader, Topic, Trainer, held, rows_of

from larix.embedding import DeltaFollower, Replica, Stand


@pytest.fixture
def topic(tmp_path):
    return Topic(tmp_path)


def drained(follower):
    while follower.poll():
        pass
    return follower


def shown_of(trainer, name):
    """A replica that was loaded from a version otherwise, and where it stands."""
    at = trainer.saving[1]
    return Replica.load(trainer.topic.folder / name), Stand(
        history=trainer.history, sequence=at, mark=trainer.marks[at]
    )


def test_one_that_shows_the_newest_snapshot_goes_on_from_it_and_loads_nothing(topic):
    trainer = Trainer(topic)
    trainer.step(2)
    replica, stand = shown_of(trainer, trainer.save("fence"))
    trainer.step()
    trainer.publish()
    follower = drained(DeltaFollower(replica, Reader(topic), shown=stand))
    assert held(replica) == rows_of(trainer.tables)
    assert (follower.applied, follower.replaced) == (1, 0)
    assert follower.stand.sequence == trainer.sequence


def test_one_that_is_ahead_of_the_newest_snapshot_passes_over_what_it_has(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    trainer.step(2)
    trainer.publish()
    replica, stand = shown_of(trainer, trainer.begin_save())
    trainer.step()
    trainer.publish()
    follower = drained(DeltaFollower(replica, Reader(topic), shown=stand))
    assert held(replica) == rows_of(trainer.tables)
    assert (follower.passed, follower.applied, follower.replaced) == (1, 1, 0)


@pytest.mark.parametrize("other", ["behind", "of another history", "with another mark"])
def test_one_that_shows_something_else_loads_the_newest_snapshot(topic, other):
    trainer = Trainer(topic)
    replica, stand = shown_of(trainer, trainer.save("fence"))
    if other == "behind":
        trainer.step()
        trainer.save()
    elif other == "of another history":
        stand = replace(stand, history="another")
    else:
        stand = replace(stand, mark=stand.mark + 1)
    trainer.step()
    trainer.publish()
    follower = drained(DeltaFollower(replica, Reader(topic), shown=stand))
    assert held(replica) == rows_of(trainer.tables)
    assert (follower.applied, follower.replaced) == (1, 1)


def test_whoever_is_called_can_tell_which_message_is_taken_over(topic):
    class Noting(Beside):
        def begin(self, version):
            self.told.append((follower.taking.kind, follower.taking.version, version))

        def dense(self, payload):
            self.told.append((follower.taking.kind, follower.taking.last))

    beside = Noting()
    trainer = Trainer(topic)
    name = trainer.save("fence")
    follower = DeltaFollower(Replica(SPECS), Reader(topic), beside)
    drained(follower)
    trainer.step()
    trainer.publish()
    trainer.dense()
    drained(follower)
    assert beside.told == [("fence", name, name), ("dense", trainer.sequence)]
