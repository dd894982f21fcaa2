"""Every way a writer can be cut short: what was durable stays, what is half goes, nothing is used twice."""

import shutil

import pytest
from log_events import flip, frames, numbered

from larix.data.log import index
from larix.data.log.head import Head
from larix.data.log.recovery import recover

APPENDS, ROWS = 6, 10


@pytest.fixture
def place(place, writing):
    writer = writing()
    for n in range(APPENDS):
        writer.append(numbered(1, n, ROWS))
    writer.close()
    return place


def set_head(place, visible, durable):
    with Head(place.head, write=True) as head:
        head.show(visible)
        head.assure(durable)


def forget_head(place):
    """As a writer leaves it that is killed between two stores."""
    raw = bytearray(place.head.read_bytes())
    raw[8] ^= 0xFF
    place.head.write_bytes(raw)


def found(place):
    with Head(place.head) as head:
        return recover(place, head)


def test_a_closed_partition_goes_on_at_its_end(place):
    size = place.segment(0).stat().st_size
    assert found(place) == (0, size, APPENDS * ROWS, 1_000_000, 0)


@pytest.mark.parametrize("known", [True, False])
def test_an_append_cut_anywhere_is_cut_off_whole_and_those_before_stay(place, known, tmp_path):
    path = place.segment(0)
    at, header = frames(path)[-1]
    whole = path.read_bytes()
    for length in [*range(at, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        set_head(place, header.first, header.first)
        if not known:
            forget_head(place)
        assert found(place) == (0, at, header.first, 1_000_000, length - at)
        assert path.stat().st_size == at
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("points_to", range(2, APPENDS + 1))
@pytest.mark.parametrize("torn", range(2, APPENDS + 1))
def test_wherever_the_index_points_the_end_is_found(place, points_to, torn):
    path = place.segment(0)
    there = frames(path)
    at, header = there[points_to]
    place.index(0).write_bytes(index.pack(index.Entry(header.first, 0, at, place.origin(0))))
    at, header = there[torn]
    with path.open("r+b") as file:
        file.truncate(at + 70)
    set_head(place, header.first, header.first)
    assert found(place) == (0, at, header.first, 1_000_000, 70)


def test_an_append_that_is_whole_but_was_not_acknowledged_is_kept(place):
    set_head(place, 20, 20)
    assert found(place).next == APPENDS * ROWS


@pytest.mark.parametrize("zeros", [1, 64, 4096])
def test_zeros_after_the_end_as_a_power_cut_leaves_them_are_cut_off(place, zeros):
    path = place.segment(0)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(bytes(zeros))
    assert found(place) == (0, size, APPENDS * ROWS, 1_000_000, zeros)


def test_pages_that_a_power_cut_took_from_the_middle_of_what_was_not_durable_end_the_log_there(place):
    (at, header) = frames(place.segment(0))[3]
    set_head(place, APPENDS * ROWS, header.first)
    flip(place.segment(0), at + 100)
    end = found(place)
    assert (end.segment, end.at, end.next) == (0, at, header.first)


@pytest.mark.parametrize("byte", [10, 100])
def test_damage_in_the_last_durable_append_is_not_taken_for_a_torn_one(place, byte):
    path = place.segment(0)
    place.index(0).unlink()
    at, _ = frames(path)[-1]
    flip(path, at + byte)
    before = path.read_bytes()
    set_head(
        place, APPENDS * ROWS, APPENDS * ROWS - 1
    )  # that one is not yet known to be durable, but begun to be
    end = found(place)
    assert (end.segment, end.next, end.cut) == (None, APPENDS * ROWS - 1, 0)
    set_head(place, APPENDS * ROWS, APPENDS * ROWS)
    end = found(place)
    if byte == 10:  # rows known to be durable are not looked at, if their header is good: readers will
        assert (end.segment, end.next, end.cut) == (None, APPENDS * ROWS, 0)
    assert path.read_bytes() == before


def test_damage_before_whole_appends_is_kept_where_nobody_knows_how_far_they_were_durable(place):
    path = place.segment(0)
    at, _ = frames(path)[3]
    flip(path, at + 100)
    forget_head(place)
    before = path.read_bytes()
    end = found(place)
    assert (end.segment, end.next) == (None, APPENDS * ROWS)
    assert path.read_bytes() == before


def test_offsets_of_durable_rows_that_are_missing_are_not_used_again(place):
    path = place.segment(0)
    at, _ = frames(path)[2]
    path.write_bytes(path.read_bytes()[:at])
    assert found(place)[::2] == (None, APPENDS * ROWS, 0)
    path.unlink()
    assert found(place)[::2] == (None, APPENDS * ROWS, 0)


def test_an_empty_last_segment_goes_on_with_the_time_of_those_before(place):
    set_head(place, APPENDS * ROWS, APPENDS * ROWS)
    place.segment(APPENDS * ROWS).touch()
    assert found(place) == (APPENDS * ROWS, 0, APPENDS * ROWS, 1_000_000, 0)


def test_a_last_segment_that_is_rubbish_from_the_start_is_begun_again(place):
    place.segment(APPENDS * ROWS).write_bytes(b"rubbish" * 100)
    forget_head(place)
    assert found(place) == (APPENDS * ROWS, 0, APPENDS * ROWS, 1_000_000, 700)


def test_the_first_segment_of_a_partition_is_new(place):
    shutil.rmtree(place.folder)
    place.folder.mkdir()
    Head.create(place.head)
    assert found(place) == (None, 0, 0, 0, 0)
