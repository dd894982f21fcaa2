import os

from hypothesis import given, settings
from hypothesis import strategies as st

from larix.data.log import index
from larix.data.log.index import Entry

ENTRIES = [Entry(first=10 * n, latest_ms=1000 + n // 2, at=1 + 100 * n, origin=7) for n in range(9)]


def written(path, entries):
    path.write_bytes(b"".join(map(index.pack, entries)))
    return path


def test_entries_come_back(tmp_path):
    assert index.read(written(tmp_path / "i", ENTRIES), origin=7) == ENTRIES
    assert index.read(tmp_path / "none", origin=7) == []


@settings(deadline=None)
@given(st.integers(0, 8 * 32 * len(ENTRIES) - 1), st.integers(0, 31))
def test_damaged_cut_and_foreign_entries_are_passed_over(tmp_path_factory, bit, cut):
    path = written(tmp_path_factory.mktemp("index") / "i", ENTRIES)
    raw = bytearray(path.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw + index.pack(ENTRIES[-1]._replace(at=9999, origin=8)) + bytes(cut))
    assert index.read(path, origin=7) == [e for n, e in enumerate(ENTRIES) if n != bit // 8 // 32]


def test_an_entry_that_goes_back_is_passed_over(tmp_path):
    path = written(tmp_path / "i", [*ENTRIES[:5], ENTRIES[2], *ENTRIES[5:]])
    assert index.read(path, origin=7) == ENTRIES


@settings(deadline=None)
@given(st.integers(0, 100))
def test_the_byte_of_an_offset_is_at_or_before_its_frame(offset):
    at = index.byte_of(ENTRIES, offset)
    assert at == 1 + 100 * min(offset // 10, 8)


def test_the_byte_at_a_time_is_at_or_before_the_first_frame_that_late():
    for time_ms in range(995, 1010):
        at = index.byte_at(ENTRIES, time_ms)
        first = next((entry.at for entry in ENTRIES if entry.latest_ms >= time_ms), 1000)
        assert at <= first
        assert at >= first - 200
    assert index.byte_of([], 5) == index.byte_at([], 5) == 0


def test_cutting_leaves_the_entries_before_a_byte(tmp_path):
    path = written(tmp_path / "i", ENTRIES)
    fd = os.open(path, os.O_RDWR)
    assert index.cut(fd, 7, before=401) == (301, 4 * index.BYTES)
    assert index.read(path, origin=7) == ENTRIES[:4]
    assert index.cut(fd, 7, before=0) == (-1, 0)
    os.close(fd)
    assert path.read_bytes() == b""
