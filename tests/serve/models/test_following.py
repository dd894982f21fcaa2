import gc
import threading
import time
import weakref

import pytest
from followers import Remake, Source, content, following_of
from messages import Topic, Trainer

from larix.errors import ConfigError, StorageError
from larix.serve.request import Stamp


@pytest.fixture
def topic(tmp_path):
    return Topic(tmp_path)


@pytest.fixture
def trainer(topic):
    trainer = Trainer(topic)
    trainer.step(2)
    return trainer


def poll(following):
    while following.poll():
        pass
    return following


def test_rows_come_at_once_and_the_stamp_with_them(trainer):
    following = following_of(trainer, trainer.save("fence"))
    begun = trainer.sequence
    for _ in range(3):
        trainer.step()
        trainer.publish()
        poll(following)
        stamp, rows, weights = following.target.scorer.ask()
        assert rows == content(trainer)
        assert weights == b"bundle"
        expected = {"rows": trainer.sequence, "dense": begun, "event_ms": trainer.sequence * 1000}
        assert stamp == Stamp(model="feed", version="v", history="h", **expected)
    assert following.trouble == ""
    assert following.gauges["delta_applied"] == 3


def test_a_network_takes_over_when_it_is_made_and_whoever_began_goes_on(trainer):
    following = following_of(trainer, trainer.save("fence"))
    trainer.step()
    trainer.publish()
    trainer.dense(b"one")
    began = following.target.scorer
    poll(following)
    assert following.target.scorer is began
    assert following.make()
    assert not following.make()
    stamp, rows, weights = following.target.scorer.ask()
    assert (stamp.rows, stamp.dense, weights) == (trainer.sequence, trainer.sequence, b"one")
    assert rows == content(trainer)
    trainer.step()
    trainer.publish()
    poll(following)
    assert following.target.scorer.stamp.rows == following.target.scorer.stamp.dense + 1
    assert began.ask()[2] == b"bundle"
    assert began.stamp.dense < following.target.scorer.stamp.dense


def test_of_networks_that_come_faster_than_they_are_made_the_last_is(trainer):
    remake = Remake()
    following = following_of(trainer, trainer.save("fence"), remake=remake, dense_s=1e6)
    for weights in (b"one", b"two"):
        trainer.step()
        trainer.publish()
        trainer.dense(weights)
    poll(following)
    assert following.make()
    trainer.dense(b"three")
    trainer.step()
    trainer.publish()
    trainer.dense(b"four")
    poll(following)
    assert not following.make()  # it is not time
    assert remake.made == [b"two"]
    assert following.catch_up(10)
    assert remake.made == [b"two", b"four"]


def test_a_network_that_came_while_one_was_made_is_not_forgotten(trainer):
    remake = Remake()
    remake.gate = threading.Event()
    following = following_of(trainer, trainer.save("fence"), remake=remake)
    trainer.step()
    trainer.publish()
    trainer.dense(b"one")
    poll(following)
    making = threading.Thread(target=following.make)
    making.start()
    trainer.dense(b"late")  # of the same state: passed over
    trainer.step()
    trainer.publish()
    trainer.dense(b"two")
    poll(following)
    remake.gate.set()
    making.join()
    assert following.target.scorer.weights == b"one"
    assert following.make()
    assert following.target.scorer.weights == b"two"
    assert remake.made == [b"one", b"two"]


def test_a_fence_swaps_rows_and_network_as_one_and_the_former_goes_on(trainer):
    following = following_of(trainer, trainer.save("fence"))
    back = trainer.begin_save()
    trainer.step(3)
    trainer.publish()
    poll(following)
    former = following.target.scorer
    before = former.ask()
    other = trainer.again(back, history="other", seed=9)
    other.save("fence")
    poll(following)
    assert following.target.scorer is former
    assert former.ask() == before  # nothing is shown of the new rows before their network is there
    other.step()
    other.publish()
    poll(following)
    assert former.ask() == before
    assert following.make()
    stamp, rows, weights = following.target.scorer.ask()
    assert stamp.history == "other"
    assert (stamp.rows, stamp.dense) == (other.sequence, other.sequence - 1)
    assert stamp.event_ms == other.sequence * 1000
    assert rows == content(other)
    assert weights == other.saving[0].encode()
    assert former.ask() == before


def test_a_network_of_rows_that_were_replaced_meanwhile_is_not_shown(trainer):
    remake = Remake()
    remake.gate = threading.Event()
    following = following_of(trainer, trainer.save("fence"), remake=remake)
    back = trainer.begin_save()
    trainer.step()
    trainer.publish()
    trainer.dense(b"one")
    poll(following)
    former = following.target.scorer
    making = threading.Thread(target=following.make)
    making.start()
    trainer.again(back, history="other").save("fence")
    poll(following)
    remake.gate.set()
    making.join()
    assert following.target.scorer is former
    assert following.make()
    assert following.target.scorer.stamp.history == "other"


def test_across_a_gap_it_answers_as_before_and_says_why_until_a_snapshot_comes(trainer, topic):
    following = following_of(trainer, trainer.save("fence"))
    trainer.step()
    trainer.publish()
    poll(following)
    before = following.target.scorer.ask()
    lost = len(topic.messages)
    trainer.step()
    trainer.publish()
    topic.lose(lost, lost + 1)
    trainer.step()
    trainer.publish()
    trainer.dense(b"ahead")
    poll(following)
    following.make()
    assert following.target.scorer.ask() == before
    at = before[0].rows
    assert following.trouble == f"deltas {at + 1} to {at + 1} are missing; a snapshot is waited for"
    assert following.gauges["delta_trouble"] == 1
    trainer.save()
    poll(following)
    assert following.make()
    stamp, rows, _ = following.target.scorer.ask()
    assert (stamp.rows, stamp.dense) == (trainer.sequence, trainer.sequence)
    assert rows == content(trainer)
    assert following.trouble == ""


def test_a_network_that_cannot_be_stored_is_told_of_and_made_when_there_is_room(trainer, monkeypatch):
    remake = Remake()
    following = following_of(trainer, trainer.save("fence"), remake=remake)
    trainer.step()
    trainer.publish()
    trainer.dense(b"one")
    poll(following)
    remake.fails = StorageError("'artifacts' cannot be written: No space left on device; free some space")
    assert not following.make()
    assert following.target.scorer.weights == b"bundle"
    assert following.target.scorer.stamp.rows == trainer.sequence
    assert "cannot be made: 'artifacts' cannot be written: No space left" in following.trouble
    remake.fails = None
    assert not following.make()  # not at once again
    following.catch_up(10)
    assert following.target.scorer.weights == b"one"
    assert following.trouble == ""


def test_a_network_that_is_not_made_because_others_have_their_turn_is_asked_for_again_at_once(trainer):
    remake = Remake()
    following = following_of(trainer, trainer.save("fence"), remake=remake, dense_s=60.0)
    trainer.step()
    trainer.publish()
    trainer.dense(b"one")
    poll(following)
    remake.busy = True
    assert not any(following.make() for _ in range(3))
    assert (following.trouble, following.target.scorer.weights) == ("", b"bundle")
    remake.busy = False
    assert following.make()
    assert following.target.scorer.weights == b"one"


def test_a_version_whose_network_is_gone_leaves_all_as_it_was(trainer):
    source = Source(trainer.topic)
    following = following_of(trainer, trainer.save("fence"), source=source)
    back = trainer.begin_save()
    trainer.step()
    trainer.publish()
    poll(following)
    before = following.target.scorer.ask()
    source.lost = True
    other = trainer.again(back, history="other")
    other.save("fence")
    poll(following)
    assert not following.make()
    assert following.target.scorer.ask() == before
    assert "is gone" in following.trouble
    source.lost = False
    other.step()
    other.save()
    poll(following)
    assert following.make()
    assert following.target.scorer.stamp.history == "other"
    assert following.trouble == ""


def test_messages_that_cannot_be_read_at_all_are_asked_for_again_later(trainer):
    class Cut(Source):
        cut = True

        def newest(self):
            if self.cut:
                raise StorageError("the log is not there")
            return super().newest()

    source = Cut(trainer.topic)
    following = following_of(trainer, trainer.save("fence"), source=source)
    assert not following.poll()
    assert following.trouble == "the log is not there"
    source.cut = False
    assert not following.poll()  # not at once again
    until = time.monotonic() + 20
    while not following.poll() and time.monotonic() < until:
        time.sleep(0.02)
    assert following.trouble == ""


def test_a_bundle_that_is_older_than_the_newest_snapshot_begins_with_that(trainer):
    name = trainer.save("fence")
    trainer.step(2)
    trainer.save()
    following = following_of(trainer, name)
    assert following.catch_up(10)
    stamp, rows, weights = following.target.scorer.ask()
    assert (stamp.rows, stamp.dense) == (trainer.sequence, trainer.sequence)
    assert rows == content(trainer)
    assert weights == trainer.saving[0].encode()


def test_its_age_is_never_below_zero_whatever_the_clock_does(trainer, monkeypatch):
    following = following_of(trainer, trainer.save("fence"))
    trainer.step()
    trainer.publish()
    poll(following)
    following._follower.published_ms = 2_000_000
    monkeypatch.setattr("larix.serve.models.following.time", lambda: 1_000.0)  # a clock set back
    assert following.gauges["delta_age_s"] == 0
    monkeypatch.setattr("larix.serve.models.following.time", lambda: 2_005.0)
    assert following.gauges["delta_age_s"] == 5
    trainer.step()
    trainer.publish()
    poll(following)
    assert following.target.scorer.stamp.rows == trainer.sequence


def test_it_tells_how_long_the_newest_event_took_to_be_shown(trainer, monkeypatch):
    following = following_of(trainer, trainer.save("fence"))
    assert following.gauges["delta_freshness_s"] == 0
    trainer.step()
    trainer.publish()
    monkeypatch.setattr("larix.serve.models.following.time", lambda: trainer.sequence + 1.5)
    poll(following)  # the newest event is of the second that the sequence number says
    assert following.gauges["delta_freshness_s"] == 1.5


@pytest.mark.parametrize("every", [-1.0, float("nan")])
def test_a_pace_that_is_none_is_refused(trainer, every):
    with pytest.raises(ConfigError, match="number of seconds"):
        following_of(trainer, trainer.save("fence"), dense_s=every)


def test_let_go_of_it_is_freed_with_its_last_request_and_no_collection_of_cycles(trainer):
    following = following_of(trainer, trainer.save("fence"))
    trainer.step()
    trainer.publish()
    trainer.dense(b"one")
    following.catch_up(10)
    following.start()
    following.stop()
    gc.collect()
    gc.disable()
    try:
        began = following.target.scorer
        gone = weakref.ref(following), weakref.ref(began), weakref.ref(began.rows)
        del following
        assert gone[0]() is None
        del began
        assert [each() for each in gone] == [None] * 3
    finally:
        gc.enable()


def test_whoever_asks_meanwhile_sees_states_that_there_were_and_no_network_newer_than_rows(trainer):
    """Trains, publishes, goes back and asks on threads; every answer is compared with the state that its stamp names."""
    following = following_of(trainer, trainer.save("fence"))
    states = {("h", trainer.sequence): content(trainer)}
    networks = {("h", trainer.sequence): b"bundle"}
    over, answers = threading.Event(), []

    def ask():
        while not over.is_set():
            answers.append(following.target.scorer.ask())

    def step(trainer):
        trainer.step()
        states[(trainer.history, trainer.sequence)] = content(trainer)
        trainer.publish()
        time.sleep(0.005)

    def forked(trainer, history, lost):
        """Another line from here; what ``lost`` steps led to before it is of no line any more."""
        name, at = trainer.save(), trainer.sequence
        networks[(trainer.history, at)] = name.encode()  # if it is loaded
        for known in (states, networks):
            known |= {(history, one): of for (its, one), of in known.items() if its == trainer.history}
        for _ in range(lost):
            step(trainer)
        other = trainer.again(name, history=history, seed=at)
        other.saving = trainer.saving
        other.tell("fence", name)
        return other

    asking = [threading.Thread(target=ask) for _ in range(3)]
    following.start()
    following.start()
    for each in asking:
        each.start()
    current = trainer
    for number in range(1, 121):
        if number % 30 == 0:
            current = forked(current, f"h{number}", lost=number % 4)
        step(current)
        if number % 3 == 0:
            weights = f"{current.history} {current.sequence}".encode()
            networks[(current.history, current.sequence)] = weights
            current.dense(weights)
    until = time.monotonic() + 30
    newest = (current.history, current.sequence, current.sequence)
    stamp = following.target.scorer.stamp
    while (stamp.history, stamp.rows, stamp.dense) != newest and time.monotonic() < until:
        time.sleep(0.01)
        stamp = following.target.scorer.stamp
    over.set()
    for each in asking:
        each.join()
    following.stop()
    following.stop()
    assert (stamp.history, stamp.rows, stamp.dense) == newest
    assert following.trouble == ""
    assert following.gauges["delta_replaced"] > 0
    seen = {(stamp.history, stamp.rows, stamp.dense) for stamp, _, _ in answers}
    assert len(seen) > 20
    assert len({history for history, _, _ in seen}) > 2
    for stamp, rows, weights in answers:
        assert stamp.dense <= stamp.rows
        assert rows == states[(stamp.history, stamp.rows)]
        assert weights == networks[(stamp.history, stamp.dense)]
