import threading
import time

import numpy as np
import pytest
from messages import SPECS, Beside, Reader, Topic, Trainer, held, rows_of

from larix.embedding import DeltaFollower, Replica
from larix.errors import StorageError


@pytest.fixture
def topic(tmp_path):
    return Topic(tmp_path)


def follower_of(topic, beside=None):
    return DeltaFollower(Replica(SPECS), Reader(topic), beside)


def drained(follower):
    while follower.poll():
        pass
    return follower


def test_it_waits_until_there_is_something_to_begin_with(topic):
    follower = follower_of(topic)
    assert not follower.poll()
    assert follower.stand is None
    trainer = Trainer(topic)
    trainer.step()
    trainer.save("fence")
    assert follower.poll()
    assert held(follower.replica) == rows_of(trainer.tables)


def test_rows_come_by_deltas_in_one_part_or_many(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    follower = drained(follower_of(topic))
    for parts in (1, 2, 7):
        trainer.step(3)
        trainer.publish(parts)
        assert follower.poll()
        assert held(follower.replica) == rows_of(trainer.tables)
        assert follower.stand.sequence == trainer.sequence
        assert follower.event_ms == trainer.sequence * 1000
    assert (follower.applied, follower.replaced, follower.passed) == (3, 1, 0)


def test_a_new_one_begins_with_the_newest_snapshot_and_catches_up(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    for _ in range(4):
        trainer.step(2)
        trainer.publish()
    trainer.save()
    trainer.step(2)
    trainer.publish()
    follower = drained(follower_of(topic))
    assert held(follower.replica) == rows_of(trainer.tables)
    assert (follower.applied, follower.replaced) == (1, 1)


def test_a_snapshot_that_took_a_while_is_gone_on_from_where_it_was_begun(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    steady = drained(follower_of(topic))
    trainer.step(2)
    trainer.publish()
    version = trainer.begin_save()
    for _ in range(3):
        trainer.step(2)
        trainer.publish(2)
    trainer.tell("snapshot", version)
    trainer.step()
    trainer.publish()
    late = drained(follower_of(topic))
    drained(steady)
    for follower, counts in ((late, (4, 1)), (steady, (5, 1))):
        assert held(follower.replica) == rows_of(trainer.tables)
        assert (follower.applied, follower.replaced) == counts


def test_one_that_waits_goes_on_from_where_the_snapshot_was_begun(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    follower = drained(follower_of(topic))
    for _ in range(2):
        trainer.step()
        trainer.publish()
    version = trainer.begin_save()
    trainer.step()
    trainer.publish()
    trainer.tell("snapshot", version)
    trainer.step()
    trainer.publish()
    topic.lose(1, 2)
    drained(follower)
    drained(follower)
    assert held(follower.replica) == rows_of(trainer.tables)
    assert (follower.applied, follower.replaced) == (2, 2)


def test_parts_that_a_killed_writer_left_are_void(topic):
    trainer = Trainer(topic)
    version = trainer.save("fence")
    follower = drained(follower_of(topic))
    trainer.step(3)
    trainer.publish(5)
    del topic.messages[-2:]
    other = trainer.again(version)
    other.step(4)
    other.publish(5)
    drained(follower)
    assert held(follower.replica) == rows_of(other.tables)
    assert (follower.applied, follower.replaced) == (1, 1)


@pytest.mark.parametrize("ahead", [1, 4, 9])
def test_rows_of_a_lost_future_are_passed_again_and_come_out_the_same(topic, ahead):
    trainer = Trainer(topic)
    version = trainer.save("fence")
    follower = drained(follower_of(topic))
    for _ in range(ahead):
        trainer.step()
        trainer.publish()
    drained(follower)
    lost = follower.stand
    other = trainer.again(version)  # trained the same way, published at other times
    other.tell("snapshot", version)
    while other.sequence < 12:
        other.step(3)
        other.publish()
        follower.poll()
        assert follower.stand.sequence >= lost.sequence, "a follower never goes back"
        if other.sequence > lost.sequence:
            assert held(follower.replica) == rows_of(other.tables)
    assert follower.replaced == 1
    assert follower.passed == ahead // 3


def test_a_future_that_comes_out_otherwise_is_left_for_a_snapshot(topic):
    trainer = Trainer(topic)
    version = trainer.save("fence")
    follower = drained(follower_of(topic))
    trainer.step(5)
    trainer.publish()
    drained(follower)
    lost = held(follower.replica)
    other = trainer.again(version, seed=99)  # say, with another learning rate
    other.tell("snapshot", version)
    other.step(4)
    other.publish()
    drained(follower)
    assert held(follower.replica) == lost, "until it is past what is shown, it shows a state that there was"
    other.step(4)
    other.publish()
    drained(follower)
    assert follower.replaced == 2
    assert held(follower.replica) == rows_of(other.tables)
    assert not follower.waiting


def test_without_marks_of_its_state_it_trusts_nothing(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    follower = drained(follower_of(topic))
    trainer.step(2)
    trainer.publish()
    object.__setattr__(topic.messages[-1], "marks", topic.messages[-1].marks[-1:])
    follower.poll()
    assert "is not the one that training passed" in follower.waiting
    trainer.save()
    drained(follower)
    assert not follower.waiting
    assert held(follower.replica) == rows_of(trainer.tables)


def test_a_fence_takes_followers_back_to_an_older_version(topic):
    trainer = Trainer(topic)
    version = trainer.save("fence")
    trainer.step(3)
    trainer.publish()
    follower = drained(follower_of(topic))
    back = trainer.again(version, history="rolled back", seed=7)
    back.tell("fence", version)
    drained(follower)
    assert held(follower.replica) == rows_of(back.tables)
    trainer.step(3)
    trainer.publish()  # of a trainer that does not know yet
    back.step(2)
    back.publish()
    drained(follower)
    assert held(follower.replica) == rows_of(back.tables)
    assert follower.passed == 1
    assert held(drained(follower_of(topic)).replica) == rows_of(back.tables)


def test_a_fence_whose_version_was_pruned_leads_on_to_the_next_of_its_history(topic):
    trainer = Trainer(topic)
    version = trainer.save("fence")
    trainer.step(3)
    trainer.publish()
    follower = drained(follower_of(topic))
    back = trainer.again(version, history="rolled back", seed=7)
    gone = back.save("fence")
    (topic.folder / gone / "manifest.json").unlink()
    shown = held(follower.replica)
    back.step(5)
    back.publish()
    drained(follower)
    assert held(follower.replica) == shown
    assert gone in follower.waiting
    back.save()
    back.step()
    back.publish()
    drained(follower)
    assert held(follower.replica) == rows_of(back.tables)
    assert not follower.waiting


def test_a_fence_at_the_state_that_is_shown_loads_nothing(topic):
    trainer = Trainer(topic)
    version = trainer.save("fence")
    follower = drained(follower_of(topic))
    other = trainer.again(version, history="next")
    other.tell("fence", version)
    other.step()
    other.publish()
    drained(follower)
    assert follower.replaced == 1
    assert held(follower.replica) == rows_of(other.tables)


def test_the_same_fence_again_loads_nothing(topic):
    trainer = Trainer(topic)
    version = trainer.save("fence")
    trainer.step(2)
    trainer.publish()
    follower = drained(follower_of(topic))
    trainer.again(version).tell("fence", version)
    drained(follower)
    assert follower.replaced == 1
    assert follower.stand.sequence == trainer.sequence


def test_one_cut_off_until_its_deltas_were_gone_begins_anew(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    follower = drained(follower_of(topic))
    stood = len(topic.messages)
    for _ in range(30):
        trainer.step()
        trainer.publish()
    trainer.save()
    trainer.step()
    trainer.publish()
    topic.lose(stood, stood + 25)
    drained(follower)
    drained(follower)
    assert held(follower.replica) == rows_of(trainer.tables)
    assert (follower.applied, follower.replaced) == (1, 2)
    assert "segment 7 is damaged" in follower.trouble


def test_behind_damage_it_waits_for_the_next_snapshot_and_shows_what_it_did(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    trainer.step()
    trainer.publish()
    follower = drained(follower_of(topic))
    shown = held(follower.replica)
    for _ in range(3):
        trainer.step()
        trainer.publish()
    topic.lose(2, 3)
    trainer.dense()
    for _ in range(4):
        follower.poll()
    assert follower.waiting.startswith("deltas 2 to 3 are missing")
    assert held(follower.replica) == shown
    trainer.step()
    trainer.save()
    trainer.step()
    trainer.publish()
    drained(follower)
    assert held(follower.replica) == rows_of(trainer.tables)
    assert not follower.waiting


def test_rows_that_are_damaged_on_the_way_are_not_applied(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    follower = drained(follower_of(topic))
    trainer.step()
    trainer.publish()
    raw = bytearray(topic.messages[-1].payload)
    raw[-20] ^= 1
    object.__setattr__(topic.messages[-1], "payload", bytes(raw))
    shown = held(follower.replica)
    follower.poll()
    assert "are damaged" in follower.trouble
    assert held(follower.replica) == shown
    trainer.save()
    drained(follower)
    assert held(follower.replica) == rows_of(trainer.tables)


def test_a_snapshot_that_was_pruned_is_waited_past(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    follower = drained(follower_of(topic))
    trainer.step()
    gone = trainer.save()
    (topic.folder / gone / "manifest.json").unlink()
    trainer.reached = trainer.sequence  # only snapshots lead on
    drained(follower)
    assert gone in follower.waiting
    trainer.step()
    trainer.save()
    drained(follower)
    assert held(follower.replica) == rows_of(trainer.tables)


def test_a_first_snapshot_that_cannot_be_had_is_told_and_tried_again(topic):
    trainer = Trainer(topic)
    gone = trainer.save("fence")
    (topic.folder / gone / "manifest.json").unlink()
    follower = follower_of(topic)
    with pytest.raises(StorageError, match=gone):
        follower.poll()
    trainer.save()
    drained(follower)
    assert held(follower.replica) == rows_of(trainer.tables)


def test_what_stands_beside_is_told_of_its_part_in_order(topic):
    trainer, beside = Trainer(topic), Beside()
    version = trainer.save("fence")
    trainer.step()
    trainer.publish()
    trainer.dense(b"first")
    follower = drained(follower_of(topic, beside))
    assert beside.told == [version, b"first"]
    other = trainer.again(version)
    other.tell("snapshot", version)
    other.step()
    other.publish()
    other.dense(b"first again")
    other.step()
    other.publish()
    other.dense(b"second")
    drained(follower)
    assert beside.told == [version, b"first", b"second"]


def test_on_a_thread_readers_see_whole_states_only(topic):
    trainer = Trainer(topic)
    trainer.save("fence")
    follower = follower_of(topic)
    follower.start(every=0.001)
    ids = np.arange(50)
    seen = []
    over = threading.Event()

    def read():
        while not over.is_set():
            seen.append(follower.replica.lookup("a", ids).tobytes())

    reader = threading.Thread(target=read)
    reader.start()
    shown = {trainer.tables.lookup("a", ids).tobytes()}
    for _ in range(30):
        trainer.step()
        shown.add(trainer.tables.lookup("a", ids).tobytes())
        trainer.publish()
        time.sleep(0.001)
    while follower.stand is None or follower.stand.sequence < trainer.sequence:
        time.sleep(0.001)
    over.set()
    reader.join()
    follower.stop()
    assert not follower.running
    nothing = np.zeros((50, 4), np.float32).tobytes()
    assert set(seen) <= shown | {nothing}
