import pytest
from log_events import numbered

from larix.data.log.reader import Reader
from larix.data.log.retention import Retention, expire
from larix.errors import ConfigError, StorageError


@pytest.fixture
def writer(writing, clock):
    """Ten segments, a second apart."""
    writer = writing(segment_bytes=4096)
    for n in range(10):
        clock.ms += 1000
        writer.append(numbered(1, n, 50))
    return writer


def test_nothing_goes_without_a_limit(writer, place, clock):
    assert expire(place, Retention(), 1 << 60) == 0
    assert len(place.segments()) == 10


def test_segments_go_once_all_in_them_is_too_old(writer, place, clock):
    # The segment of second n is followed by the one of second n + 1, which bounds its age.
    assert expire(place, Retention(age_s=5), clock.ms) == 3
    assert place.segments() == [50 * n for n in range(3, 10)]
    assert not place.index(100).exists()
    assert expire(place, Retention(age_s=5), clock.ms) == 0
    assert expire(place, Retention(age_s=5), clock.ms + 1) == 1


def test_the_newest_stays_however_old(writer, place, clock):
    assert expire(place, Retention(age_s=1), clock.ms + 10**9) == 9
    assert place.segments() == [450]


def test_segments_go_while_the_partition_is_too_large(writer, place):
    size = sum(place.segment(first).stat().st_size for first in (350, 400, 450))
    assert expire(place, Retention(size_bytes=size), 0) == 7
    assert place.segments() == [350, 400, 450]
    assert expire(place, Retention(size_bytes=1), 0) == 2


def test_a_clock_that_jumps_back_removes_nothing_early(writing, place, clock):
    writer = writing(segment_bytes=4096)
    for n, ms in enumerate([10_000, 2_000, 3_000, 11_000]):
        clock.ms = ms
        writer.append(numbered(1, n, 50))
    # The second was appended at 2 s by its clock, but after one at 10 s: it is kept as one of 10 s.
    assert expire(place, Retention(age_s=5), 14_000) == 0
    assert expire(place, Retention(age_s=5), 15_001) == 2


def test_a_reader_goes_on_in_a_removed_segment_and_is_told_what_is_gone(writer, place, clock):
    reader = Reader(place, 25)
    assert len(reader.read(1)[0].rows) == 25
    reader.seek(30)
    reader.read(1)
    assert expire(place, Retention(age_s=5), clock.ms) == 3
    with pytest.raises(
        StorageError, match="begins at 150: older events are gone, as its retention asks; rows 50 to 149"
    ):
        reader.read(1)
    reader.close()
    reader = Reader(place, 30, skip_lost=True)
    assert reader.read(1)[0].offset == 150
    assert reader.lost == 120
    reader.close()


@pytest.mark.parametrize(
    "limits", [{"age_s": 0}, {"age_s": -1.0}, {"size_bytes": 0}, {"age_s": float("nan")}]
)
def test_a_limit_that_keeps_nothing_is_a_mistake(limits):
    with pytest.raises(ConfigError, match="must be above 0"):
        Retention(**limits)
