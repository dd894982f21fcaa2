import shutil
from dataclasses import replace

import pytest
from log_events import appends, flip, frames, numbered

from larix.data.log import index
from larix.data.log.frame import ROWS, SCHEMA
from larix.data.log.segment import BadFrameError, Segment, after
from larix.errors import StorageError


@pytest.fixture
def segment(place, writing, clock, monkeypatch):
    """Thirty appends of ten rows, a second apart, in one segment with an index entry for about every third."""
    monkeypatch.setattr(index, "EVERY", 2000)
    writer = writing()
    for n in range(30):
        clock.ms += 1000
        writer.append(numbered(1, n, 10))
    writer.close()
    with Segment(place, 0) as opened:
        yield opened


def test_frames_follow_each_other_and_hold_what_was_appended(segment):
    at, batches, kinds = 0, [], []
    while (header := segment.header(at)) is not None:
        kinds.append(header.kind)
        if header.kind == ROWS:
            batches.append(segment.rows(at, header))
        at = after(at, header)
    assert at == segment.size
    assert appends(batches) == [(1, n) for n in range(30)]
    assert kinds == [SCHEMA] + [ROWS] * 30


@pytest.mark.parametrize("indexed", ["well", "wrongly", "not"])
def test_any_offset_is_found_with_a_good_index_a_wrong_one_and_none(segment, place, indexed):
    entries = index.read(place.index(0), place.origin(0))
    assert len(entries) > 5
    if indexed == "not":
        place.index(0).unlink()
    elif indexed == "wrongly":
        wrong = b"".join(index.pack(entry._replace(at=entry.at + 64)) for entry in entries)
        place.index(0).write_bytes(wrong)
    for offset in range(300):
        header = segment.header(segment.seek(offset))
        assert header.first <= offset
        assert header.kind == SCHEMA or offset < header.first + header.rows
    assert segment.seek(300) == segment.seek(10**9) == segment.size


def test_a_time_is_found(segment):
    for time_ms in range(999_500, 1_030_001, 250):
        _, header = segment.seek_time(time_ms)
        assert header.first == 10 * max(0, -(-(time_ms - 1_001_000) // 1000))
    assert segment.seek_time(1_030_001) == (segment.size, None)


def test_seeking_passes_over_a_damaged_header(segment, place):
    at, header = frames(place.segment(0))[5]
    flip(place.segment(0), at + 20)
    place.index(0).unlink()
    assert segment.header(at) is None
    assert segment.header(segment.seek(header.first + 10)).first == header.first + 10
    assert segment.header(segment.seek(header.first)).first == header.first + 10


@pytest.mark.parametrize("what", ["rows", "schema"])
def test_damaged_rows_and_a_damaged_schema_are_told_with_their_byte(segment, place, what):
    frame = frames(place.segment(0))[0 if what == "schema" else 7]
    flip(place.segment(0), frame[0] + 64 + 9)
    at, header = frames(place.segment(0))[7]
    with pytest.raises(BadFrameError) as told:
        segment.rows(at, header)
    assert told.value.at == frame[0]
    assert segment.whole(at, header) == (what == "schema")


def test_the_next_good_header_is_found_and_none_of_another_segment(segment, place):
    path = place.segment(0)
    (first, _), (second, _), (third, _) = frames(path)[3:6]
    assert segment.next_good(first) == second
    flip(path, second)
    assert segment.next_good(first) == third
    raw = path.read_bytes()
    path.write_bytes(raw[:first])
    assert segment.next_good(first) is None
    with Segment(place, 0) as alone:
        alone._origin += 1
        assert alone.next_good(0) is None


def test_frames_of_another_partition_or_segment_are_not_taken_for_its_own(segment, place, tmp_path):
    assert segment.header(0) is not None
    elsewhere = replace(place, partition=1)
    shutil.copy(place.segment(0), place.segment(7))
    for there, first in ((elsewhere, 0), (place, 7)):
        with Segment(there, first) as wrong:
            assert wrong.header(0) is None
            assert wrong.next_good(0) is None


def test_a_segment_that_is_not_there_is_named(place):
    with pytest.raises(StorageError, match=r"00042\.segment' cannot be read"):
        Segment(place, 42)
