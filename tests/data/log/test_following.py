import threading
import time

import pytest
from log_events import appends, numbered

from larix.data.log.following import Following
from larix.data.log.head import Head
from larix.data.log.offsets import Offsets
from larix.data.log.place import Place
from larix.data.log.writer import Writer
from larix.errors import ConfigError


@pytest.fixture
def topic(tmp_path):
    """Three partitions with a writer each."""
    writers = []
    for partition in range(3):
        folder = tmp_path / str(partition)
        folder.mkdir()
        Head.create(folder / "head")
        place = Place(folder=folder, log="log", topic="t", partition=partition)
        writers.append(
            (
                place,
                Writer(
                    place, segment_bytes=1 << 20, segment_age_s=None, clock=lambda: 1, rolled=lambda: None
                ),
            )
        )
    yield writers
    for _, writer in writers:
        writer.close()


@pytest.fixture
def following(topic):
    opened = []

    def follow(start=0, partitions=(0, 1, 2)):
        places = [place for place, _ in topic if place.partition in partitions]
        at = Offsets(log="log", topic="t", next=dict.fromkeys(partitions, start))
        opened.append(Following(places, at, keep=lambda _: None, skip_lost=False))
        return opened[-1]

    yield follow
    for each in opened:
        each.close()


def test_every_partition_comes_in_its_own_order_and_none_waits_for_another(topic, following):
    for n in range(50):
        for partition, (_, writer) in enumerate(topic):
            writer.put(numbered(partition, n, 4))
    source, seen, found = following(), {0: [], 1: [], 2: []}, []
    while got := source.poll(0, max_rows=8):
        assert len(got) <= 3
        found += got
    for each in found:
        seen[each.partition].append(each.rows)
    for partition in range(3):
        assert appends(seen[partition]) == [(partition, n) for n in range(50)]
    halfway = {each.partition for each in found[: len(found) // 2]}
    assert halfway == {0, 1, 2}
    assert source.next() == source.ends() == {0: 200, 1: 200, 2: 200}


def test_an_idle_topic_is_waited_for_and_no_longer(following):
    source = following()
    begun = time.monotonic()
    assert source.poll(0.1, 10) == []
    assert 0.1 <= time.monotonic() - begun < 5
    cpu = time.process_time()
    source.poll(0.5, 10)
    assert time.process_time() - cpu < 0.25


def test_a_poll_returns_when_something_comes(topic, following):
    source = following()
    timer = threading.Timer(0.1, lambda: topic[2][1].append(numbered(1, 7, 3)))
    timer.start()
    (got,) = source.poll(30, 10)
    assert appends([got.rows]) == [(1, 7)]
    timer.join()


def test_an_offset_beyond_the_end_or_of_another_partition_is_a_mistake(topic, following):
    topic[1][1].append(numbered(1, 0, 5))
    source = following(partitions=(1,))
    source.seek({1: 5})
    with pytest.raises(
        ConfigError, match="offset 6 is beyond the end 5 of partition 1 of topic 't': the log was put back"
    ):
        source.seek({1: 6})
    with pytest.raises(ConfigError, match="partition 2 of topic 't' is not read here"):
        source.seek({2: 0})
    assert source.next() == {1: 5}
