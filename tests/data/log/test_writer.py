import errno
import os
import resource
import threading
import time

import pyarrow as pa
import pytest
from log_events import appends, frames, numbered

from larix.data.log import index
from larix.data.log.head import Head
from larix.data.log.lease import LeaseError
from larix.data.log.reader import Reader
from larix.errors import StorageError


def read_all(place, **options):
    reader = Reader(place, 0, **options)
    try:
        found = []
        while reader.next < reader.end:
            found += [events.rows for events in reader.read(1 << 20)]
        return found
    finally:
        reader.close()


def test_offsets_count_rows_and_go_on_after_reopening(writing, place):
    writer = writing()
    assert [writer.append(numbered(1, n, n + 1)) for n in range(4)] == [0, 1, 3, 6]
    writer.close()
    assert writing().append(numbered(1, 4, 2)) == 10
    assert appends(read_all(place)) == [(1, n) for n in range(5)]


def test_rows_are_visible_when_written_and_durable_when_waited_for(writing, place):
    writer = writing()
    ticket = writer.put(numbered(1, 0, 5))
    with Head(place.head) as head:
        assert (head.visible, head.durable) == (5, 0)
        writer.wait(ticket)
        assert (head.visible, head.durable) == (5, 5)


def test_an_append_of_no_rows_is_nothing(writing, place):
    writer = writing()
    assert writer.append(numbered(1, 0, 0)) == 0
    writer.append(numbered(1, 0, 3))
    assert writer.append(numbered(1, 0, 0)) == 3
    assert appends(read_all(place)) == [(1, 0)]


def test_a_second_writer_is_refused_until_the_first_closes(writing, place):
    first = writing()
    with pytest.raises(LeaseError, match=rf"partition 0 of topic 'clicks' is process {os.getpid()} on"):
        writing()
    first.append(numbered(1, 0, 1))
    first.close()
    assert writing().append(numbered(1, 1, 1)) == 1


def test_segments_are_begun_when_full_and_large_appends_have_their_own(writing, place):
    writer = writing(segment_bytes=8192)
    for n in range(40):
        writer.append(numbered(1, n, 1000 if n == 20 else 10))
    there = place.segments()
    assert len(there) > 5
    for first in there:
        size = place.segment(first).stat().st_size
        assert size <= 8192 or len(frames(place.segment(first))) == 2
        assert frames(place.segment(first))[-1][1].first >= first
    assert appends(read_all(place)) == [(1, n) for n in range(40)]


def test_each_segment_holds_its_schemas_once(writing, place):
    writer = writing()
    one, other = pa.record_batch({"a": [1]}), pa.record_batch({"b": ["x"]})
    for n in range(10):
        writer.append(one if n % 2 else other)
    kinds = [header.kind for _, header in frames(place.segment(0))]
    assert (kinds.count(1), kinds.count(2)) == (2, 10)
    assert [rows.schema.names for rows in read_all(place)] == [["b"], ["a"]] * 5


def test_a_segment_is_begun_when_the_last_is_old(writing, place, clock):
    writer = writing(segment_age_s=10)
    for _ in range(4):
        writer.append(numbered(1, 0, 1))
        clock.ms += 6000
    assert place.segments() == [0, 2]


def test_the_largest_time_so_far_never_falls_however_the_clock_jumps(writing, place, clock):
    writer = writing(segment_bytes=4096)
    jumps = [0, 10**9, -(10**9), 5, -(10**12), 2 * 10**12, 1, 1]
    for n, jump in enumerate(jumps):
        clock.ms += jump
        writer.append(numbered(1, n, 20))
        if n == 4:
            writer.close()
            writer = writing(segment_bytes=4096)
    headers = [header for first in place.segments() for _, header in frames(place.segment(first))]
    times = [header.time_ms for header in headers if header.kind == 2]
    latest = [header.latest_ms for header in headers if header.kind == 2]
    assert times == [1_000_000 + sum(jumps[: n + 1]) for n in range(len(jumps))]
    assert latest == [max(times[: n + 1]) for n in range(len(times))]


def test_threads_that_append_at_once_share_syncs(writing, place, monkeypatch):
    writer, head, synced = writing(), Head(place.head), []
    writer.append(numbered(0, 0, 1))
    fdatasync = os.fdatasync

    def slow(fd):
        synced.append(fd)
        until = time.monotonic() + 20
        while len(synced) == 1 and head.visible < 25 and time.monotonic() < until:
            time.sleep(0.001)  # until all the others have written, and wait
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", slow)

    def work(maker):
        first = writer.append(numbered(maker, 0, 3))
        assert head.durable >= first + 3

    threads = [threading.Thread(target=work, args=(maker,)) for maker in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(synced) == 2
    assert head.durable == 25
    head.close()
    assert sorted(appends(read_all(place))) == [(maker, 0) for maker in range(9)]


def test_rows_are_durable_before_a_new_segment_is_begun(writing, place):
    writer = writing(segment_bytes=4096)
    while len(place.segments()) < 2:
        writer.put(numbered(1, 0, 20))
    with Head(place.head) as head:
        assert head.durable == place.segments()[1] < head.visible


@pytest.fixture
def small_files():
    """No file of this process may grow beyond so many bytes: writing fails midway, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_fails_the_append_and_later_ones_go_on_once_there_is_room(writing, place, small_files):
    writer = writing()
    writer.append(numbered(1, 0, 50))
    size = place.segment(0).stat().st_size
    for room in (1, 63, 64, 65, 1000, 2000):
        small_files(size + room)
        with pytest.raises(StorageError, match="what was to be appended is not there; free some space below"):
            writer.append(numbered(1, 1, 500))
        assert place.segment(0).stat().st_size == size
        assert appends(read_all(place)) == [(1, 0)]
    small_files(1 << 30)
    assert writer.append(numbered(1, 1, 500)) == 50
    assert appends(read_all(place)) == [(1, 0), (1, 1)]


def test_a_tail_that_cannot_be_cut_at_once_is_cut_before_the_next_append(
    writing, place, small_files, monkeypatch
):
    writer = writing()
    writer.append(numbered(1, 0, 50))
    size = place.segment(0).stat().st_size
    truncate = os.ftruncate

    def fails(fd, length):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "ftruncate", fails)
    small_files(size + 5000)
    for _ in range(2):
        with pytest.raises(StorageError):
            writer.append(numbered(1, 1, 500))
    assert place.segment(0).stat().st_size == size + 5000
    assert appends(read_all(place)) == [(1, 0)]
    monkeypatch.setattr(os, "ftruncate", truncate)
    small_files(1 << 30)
    writer.append(numbered(1, 1, 3))
    assert appends(read_all(place)) == [(1, 0), (1, 1)]
    assert frames(place.segment(0))[-1][1].rows == 3


def test_a_segment_that_cannot_be_begun_is_begun_later(writing, place, monkeypatch):
    writer = writing(segment_bytes=4096)
    writer.append(numbered(1, 0, 60))
    sync = os.fsync

    def fails(fd):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError, match="no space"):
        writer.append(numbered(1, 1, 60))
    assert place.segments() == [0]
    monkeypatch.setattr(os, "fsync", sync)
    writer.append(numbered(1, 1, 60))
    assert appends(read_all(place)) == [(1, 0), (1, 1)]


def test_after_a_failed_sync_nothing_of_it_counts_and_no_offset_is_used_again(writing, place, monkeypatch):
    writer = writing()
    writer.append(numbered(1, 0, 5))
    sync = os.fdatasync

    def fails(fd):
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(os, "fdatasync", fails)
    sent = writer.put(numbered(1, 1, 5))
    with pytest.raises(StorageError, match="the disk is gone"):
        writer.append(numbered(1, 2, 5))
    monkeypatch.setattr(os, "fdatasync", sync)
    with pytest.raises(StorageError, match=r"rows 5 to 9 .* could not be made durable"):
        writer.wait(sent)
    with Head(place.head) as head:
        assert head.durable == 15  # whoever takes over now, begins after what readers have seen
    assert writer.append(numbered(1, 3, 5)) == 15
    writer.close()
    assert writing().append(numbered(1, 4, 5)) == 20
    with pytest.raises(StorageError, match="rows 5 to 14"):
        appends(read_all(place)[:1] + read_all(place))
    assert appends(read_all(place, skip_lost=True)) == [(1, 0), (1, 3), (1, 4)]


def test_the_index_goes_on_after_reopening_and_knows_nothing_of_what_was_cut(writing, place, monkeypatch):
    monkeypatch.setattr(index, "EVERY", 500)
    writer = writing()
    for n in range(20):
        writer.append(numbered(1, n, 10))
    writer.close()
    last, header = frames(place.segment(0))[-5]
    with place.segment(0).open("r+b") as file:
        file.truncate(last + 70)
    with Head(place.head, write=True) as head:
        head.assure(header.first)
    writer = writing()
    for n in range(20):
        writer.append(numbered(2, n, 10))
    there = {at: header.first for at, header in frames(place.segment(0))}
    entries = index.read(place.index(0), place.origin(0))
    assert len(entries) > 20
    assert all(there[entry.at] == entry.first for entry in entries)


def test_a_closed_writer_and_a_child_of_a_fork_refuse(writing, place):
    writer = writing()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            writer.append(numbered(1, 0, 1))
        except StorageError as error:
            status = 0 if "open the log again" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    writer.append(numbered(1, 0, 1))
    writer.close()
    writer.close()
    with pytest.raises(StorageError, match="or is closed: open the log again"):
        writer.append(numbered(1, 1, 1))


def test_who_appends_while_another_thread_closes_is_told_or_durable(writing, place):
    """No append is half in, and none goes to a partition whose lease is another's by now."""
    for _ in range(20):
        writer, done, told, started = writing(segment_bytes=4096), [], [], threading.Event()

        def work(writer=writer, done=done, told=told, started=started):
            try:
                while True:
                    done.append(writer.append(numbered(1, 0, 10)))
                    started.set()
            except StorageError as error:
                told.append(str(error))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert started.wait(20)
        writer.close()
        with Head(place.head) as head:
            end = head.visible
            for thread in threads:
                thread.join()
            assert head.visible == head.durable == end >= max(done) + 10
        assert len(told) == 3
        assert all("is closed: open the log again" in each for each in told)
