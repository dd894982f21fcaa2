import re
import shutil

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_events import appends, flip, frames, numbered

from larix.data.log.frame import pack, unpack
from larix.data.log.head import Head
from larix.data.log.place import Place
from larix.data.log.reader import Reader
from larix.data.log.segment import Segment, after
from larix.data.log.writer import Writer
from larix.errors import StorageError

APPENDS, ROWS = 40, 10


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Forty appends of ten rows in several segments; not to be changed."""
    folder = tmp_path_factory.mktemp("written")
    Head.create(folder / "head")
    place = Place(folder=folder, log="log", topic="clicks", partition=0)
    writer = Writer(place, segment_bytes=12_000, segment_age_s=None, clock=lambda: 5, rolled=lambda: None)
    for n in range(APPENDS):
        writer.append(numbered(1, n, ROWS))
    writer.close()
    assert len(place.segments()) >= 3
    return place


@pytest.fixture
def place(written, tmp_path):
    shutil.copytree(written.folder, tmp_path / "copy")
    return Place(folder=tmp_path / "copy", log="log", topic="clicks", partition=0)


def read(place, start=0, max_rows=1 << 20, **options):
    """What is read until the end, and the reader."""
    reader, found = Reader(place, start, **options), []
    try:
        while reader.next < reader.end:
            found += reader.read(max_rows)
    finally:
        reader.close()
    return found, reader


@settings(max_examples=60, deadline=None)
@given(st.integers(0, APPENDS * ROWS), st.integers(1, 100))
def test_any_offset_is_begun_at_and_no_row_comes_twice(written, start, max_rows):
    found, reader = read(written, start, max_rows)
    assert [events.offset for events in found[1:]] == [ROWS * n for n in range(start // ROWS + 1, APPENDS)]
    whole = [rows for n in range(APPENDS) for rows in numbered(1, n, ROWS).to_pylist()]
    assert [row for events in found for row in events.rows.to_pylist()] == whole[start:]
    assert (found[0].offset if found else start) == start
    assert reader.lost == 0


def test_no_append_is_added_once_there_are_enough_rows(written):
    reader = Reader(written, 0)
    assert [len(reader.read(most)) for most in (1, 10, 11, 25)] == [1, 1, 2, 3]
    assert reader.next == 70
    reader.close()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_is_named_with_file_and_byte_and_costs_no_other_append(written, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(written.folder, folder, dirs_exist_ok=True)
    place = Place(folder=folder, log="log", topic="clicks", partition=0)
    path = place.segment(data.draw(st.sampled_from(place.segments())))
    byte = data.draw(st.integers(0, path.stat().st_size - 1))
    at, header = [each for each in frames(path) if each[0] <= byte][-1]
    flip(path, byte, data.draw(st.integers(0, 7)))
    schema = header.kind == 1
    gone = {n for n in range(APPENDS) if n == header.first // ROWS}
    if schema:
        gone = {each.first // ROWS for _, each in frames_of(place, path) if each.kind == 2}
    with pytest.raises(StorageError) as told:
        read(place)
    assert f"'{path}' is damaged at byte {at}" in str(told.value)
    first, last = map(
        int, re.search(r"rows (\d+) to (\d+) of partition 0 of topic 'clicks'", str(told.value)).groups()
    )
    assert first == header.first
    assert last >= first
    found, reader = read(place, skip_lost=True)
    assert appends([events.rows for events in found]) == [(1, n) for n in range(APPENDS) if n not in gone]
    assert reader.lost == ROWS * len(gone)


def frames_of(place, path):
    """The good frames of a segment one of which is damaged."""
    with Segment(place, int(path.stem)) as segment:
        at = 0
        while at is not None and at < segment.size:
            header = segment.header(at)
            if header is None:
                at = segment.next_good(at)
            else:
                yield at, header
                at = after(at, header)


def test_what_comes_before_damage_is_handed_out_first(place):
    at, _ = frames(place.segment(0))[4]
    flip(place.segment(0), at + 80)
    reader = Reader(place, 0)
    assert appends([events.rows for events in reader.read(1000)]) == [(1, 0), (1, 1), (1, 2)]
    for _ in range(2):
        with pytest.raises(StorageError, match="rows 30 to 39"):
            reader.read(1000)
        assert reader.next == 30
    reader.seek(40)
    assert len(reader.read(1000)) == APPENDS - 4
    reader.close()


@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_a_segment_that_is_gone_is_counted_or_told(place, which):
    there = [*place.segments(), APPENDS * ROWS]
    n = {"first": 0, "middle": 1, "last": len(there) - 2}[which]
    place.segment(there[n]).unlink()
    rest = [(1, k) for k in range(APPENDS) if not there[n] <= ROWS * k < there[n + 1]]
    with pytest.raises(StorageError, match=f"rows {there[n]} to {there[n + 1] - 1}"):
        read(place)
    found, reader = read(place, skip_lost=True)
    assert appends([events.rows for events in found]) == rest
    assert reader.lost == there[n + 1] - there[n]


def test_a_segment_that_was_cut_short_is_told(place):
    first, second, *_ = place.segments()
    at, header = frames(place.segment(first))[-2]
    with place.segment(first).open("r+b") as file:
        file.truncate(at)
    with pytest.raises(
        StorageError, match=f"ends at byte {at}, before its last row; rows {header.first} to {second - 1}"
    ):
        read(place)
    found, reader = read(place, skip_lost=True)
    assert reader.lost == second - header.first == ROWS * (APPENDS - len(found))


def test_damage_at_the_very_end_hides_nothing_that_comes_later(place):
    last = place.segments()[-1]
    at, header = frames(place.segment(last))[-1]
    flip(place.segment(last), at + 5)
    reader = Reader(place, header.first, skip_lost=True)
    assert reader.read(1000) == []
    assert (reader.next, reader.lost) == (APPENDS * ROWS, ROWS)
    writer = Writer(place, segment_bytes=1 << 20, segment_age_s=None, clock=lambda: 5, rolled=lambda: None)
    writer.append(numbered(1, 77, 5))
    writer.close()
    assert appends([events.rows for events in reader.read(1000)]) == [(1, 77)]
    reader.close()


def test_nothing_is_read_beyond_the_head_though_it_is_written(place):
    with Head(place.head, write=True) as head:
        head.show(25)
    reader = Reader(place, 0)
    assert [events.offset for events in reader.read(1000)] == [0, 10, 20]
    assert reader.read(1000) == []
    reader.close()


def test_bytes_read_ahead_while_a_writer_was_writing_them_are_read_again(place, tmp_path):
    """The last append is on its way: its first half is there when the one before it is read."""
    last = place.segments()[-1]
    path = place.segment(last)
    at, header = frames(path)[-1]
    whole = path.read_bytes()
    with Head(place.head, write=True) as head:
        head.show(header.first)
        path.write_bytes(whole[: at + 100] + bytes(len(whole) - at - 100))
        reader = Reader(place, last)
        reader.read(1 << 20)
        assert reader.next == header.first
        with path.open("r+b") as file:
            file.seek(at)
            file.write(whole[at:])
        head.show(header.first + ROWS)
    assert [events.offset for events in reader.read(1 << 20)] == [header.first]
    reader.close()


def test_a_schema_that_its_writer_took_back_is_not_passed(place):
    """The disk was full after the schema of an append; the next append, of another schema, stands in its place."""
    path = place.segment(place.segments()[-1])
    header = frames(path)[-1][1]
    whole, at = path.read_bytes(), header.schema_at
    size = frames(path)[0][1].size
    taken_back = whole[at : at + 64 + size]
    first = header.first + ROWS
    with path.open("ab") as file:
        renumbered = unpack(taken_back[:64])._replace(first=first, schema_at=len(whole))
        file.write(pack(renumbered) + taken_back[64:])
    reader = Reader(place, first)
    reader.read(1)
    reader._enter(first)
    with path.open("r+b") as file:
        file.truncate(len(whole))
    writer = Writer(place, segment_bytes=1 << 20, segment_age_s=None, clock=lambda: 5, rolled=lambda: None)
    other = pa.record_batch({"quite": [1.5], "another": ["schema"], "with_more": ["columns"]})
    writer.append(other)
    writer.close()
    assert [events.rows for events in reader.read(1)] == [other]
    reader.close()


def test_a_position_waits_for_the_disk_only_if_the_writer_has_not(writing, place, monkeypatch):
    synced = []
    monkeypatch.setattr(Segment, "sync", lambda segment: synced.append(segment.first))
    reader = Reader(place, 0)
    reader.read(1 << 20)
    reader.assure()
    assert not synced
    with Head(place.head, write=True) as head:
        head.assure(APPENDS * ROWS - 1)
    reader.assure()
    assert synced == [place.segments()[-1]]
    reader.close()
