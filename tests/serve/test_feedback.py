import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from larix.data.log import DiskLog
from larix.errors import ConfigError, DataError, StorageError
from larix.serve import Why
from larix.serve.feedback import Feedback, FeedbackSettings, FeedbackStats

SCHEMA = pa.schema(
    [
        pa.field("impression_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("event_id", pa.string()),
        pa.field("time_ms", pa.int64()),
        pa.field("value", pa.int64()),
    ]
)
SOON = 20.0


def click(number, **more):
    return {"impression_id": f"i{number}", "kind": "click", **more}


class Sink:
    """Takes batches; waits at a gate where there is one, and fails as it is told."""

    def __init__(self):
        self.batches, self.partitions, self.fail = [], [], None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, rows, partition):
        self.entered.release()
        assert self.gate.wait(SOON)
        if self.fail is not None and (error := self.fail(rows)) is not None:
            raise error
        self.batches.append(rows)
        self.partitions.append(partition)

    @property
    def ids(self):
        return [id for batch in self.batches for id in batch["impression_id"].to_pylist()]


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def feedback(sink):
    with Feedback(sink, SCHEMA, time="time_ms", event_id="event_id", now_ms=lambda: 77) as feedback:
        yield feedback
        sink.gate.set()


def test_actions_are_written_and_told_of_when_they_are(feedback, sink):
    sink.gate.clear()
    future = feedback.append([click(1, value=3, time_ms=5, event_id="e"), click(2)])
    assert sink.entered.acquire(timeout=SOON)
    assert not future.done()
    sink.gate.set()
    assert future.result(SOON) == 2
    [rows] = sink.batches
    assert rows.schema == SCHEMA
    first, second = rows.to_pylist()
    assert first == {"impression_id": "i1", "kind": "click", "event_id": "e", "time_ms": 5, "value": 3}
    assert (second["time_ms"], second["value"]) == (77, None)
    assert len(second["event_id"]) == 32
    assert feedback.stats == FeedbackStats(written=2)


@pytest.mark.parametrize(
    ("actions", "text"),
    [
        ([click(1), {"kind": "click"}], "action 1 has no 'impression_id'"),
        ([click(1), click(2, colour="red")], "action 1 has a column 'colour'"),
        ([click(1), click(2, value="many")], "column 'value' row 1 is 'many'; expected int64"),
        ([click(1), click(2, value=1.5)], "column 'value' row 1 is 1.5"),
        ([click(1), 5], "action 1 is a int"),
        ([click(1), click(2, kind=None)], "action 1 has no 'kind'"),
        ([click(1, kind="\ud800")], "column 'kind'"),
        ([click(1, value=1 << 70)], "column 'value'"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_of_it_is_written(feedback, sink, actions, text):
    error = feedback.append(actions).exception(SOON)
    assert isinstance(error, DataError)
    assert text in str(error)
    assert feedback.append([click(9)]).result(SOON) == 1
    assert sink.ids == ["i9"]


def test_no_actions_are_no_trouble(feedback):
    assert feedback.append([]).result(SOON) == 0


def test_what_comes_while_one_is_written_is_written_together_in_order(feedback, sink):
    sink.gate.clear()
    futures = [feedback.append([click(0)])]
    assert sink.entered.acquire(timeout=SOON)
    futures += [feedback.append([click(number)]) for number in range(1, 50)]
    sink.gate.set()
    assert [each.result(SOON) for each in futures] == [1] * 50
    assert [len(batch) for batch in sink.batches] == [1, 49]
    assert sink.ids == [f"i{number}" for number in range(50)]


def test_no_more_are_written_together_than_allowed(sink):
    sink.gate.clear()
    with Feedback(sink, SCHEMA, FeedbackSettings(together=10)) as feedback:
        futures = [feedback.append([click(0)])]
        assert sink.entered.acquire(timeout=SOON)
        futures += [feedback.append([click(number)] * 4) for number in range(1, 6)]
        futures.append(feedback.append([click(9)] * 30))
        sink.gate.set()
        assert sum(each.result(SOON) for each in futures) == 51
    assert [len(batch) for batch in sink.batches] == [1, 8, 8, 4, 30]


def test_more_than_there_is_room_for_is_refused_and_counted(sink):
    size = feedback_bytes(sink, [click(0)])
    sink.gate.clear()
    settings = FeedbackSettings(waiting_bytes=8 * size, bearer_share=0.5)
    with Feedback(sink, SCHEMA, settings) as feedback:
        mine = [feedback.append([click(number)], bearer="ann") for number in range(5)]
        refusal = mine[-1].exception(0)
        assert (refusal.why, refusal.retry_after_s) == (Why.OVERLOADED, 1.0)
        others = [feedback.append([click(number)], bearer="bob") for number in range(5, 9)]
        assert feedback.append([click(9)], bearer="cay").exception(0).why is Why.OVERLOADED
        assert feedback.append([click(10)] * 1000, bearer="cay").exception(0).why is Why.TOO_LARGE
        stats = feedback.stats
        assert (stats.waiting_bytes, stats.refused) == (8 * size, 1002)
        sink.gate.set()
        assert [each.result(SOON) for each in mine[:4] + others] == [1] * 8
        assert feedback.append([click(11)], bearer="ann").result(SOON) == 1
    assert sorted(sink.ids) == sorted(f"i{number}" for number in (0, 1, 2, 3, 5, 6, 7, 8, 11))


def feedback_bytes(sink, actions):
    with Feedback(sink, SCHEMA) as feedback:
        return feedback._rows(actions).get_total_buffer_size()


def test_one_that_cannot_be_written_takes_no_other_with_it(feedback, sink):
    def poison(rows):
        return ValueError("poison") if "i13" in rows["impression_id"].to_pylist() else None

    sink.gate.clear()
    first = feedback.append([click(0)])
    assert sink.entered.acquire(timeout=SOON)
    futures = [feedback.append([click(number)]) for number in range(10, 16)]
    sink.fail = poison
    sink.gate.set()
    assert first.result(SOON) == 1
    errors = [each.exception(SOON) for each in futures]
    assert [error is None for error in errors] == [True, True, True, False, True, True]
    assert errors[3].why is Why.BROKEN
    assert "i13" not in sink.ids
    assert (feedback.stats.failed, feedback.stats.written) == (1, 6)


def test_who_cancels_in_time_has_nothing_written(feedback, sink):
    sink.gate.clear()
    first = feedback.append([click(0)])
    assert sink.entered.acquire(timeout=SOON)
    second, third = feedback.append([click(1)]), feedback.append([click(2)])
    assert second.cancel()
    assert not first.cancel()  # it is being written
    sink.gate.set()
    assert (first.result(SOON), third.result(SOON)) == (1, 1)
    assert sink.ids == ["i0", "i2"]
    assert feedback.stats == FeedbackStats(written=2, cancelled=1)


def test_closing_writes_what_waits_and_takes_no_more(sink):
    feedback = Feedback(sink, SCHEMA)
    futures = [feedback.append([click(number)]) for number in range(20)]
    assert feedback.close()
    assert [each.result(0) for each in futures] == [1] * 20
    refusal = feedback.append([click(99)]).exception(0)
    assert refusal.why is Why.UNAVAILABLE
    assert feedback.stats.refused == 1
    assert feedback.close()


def test_what_a_hanging_disk_keeps_from_being_written_is_told(sink):
    sink.gate.clear()
    feedback = Feedback(sink, SCHEMA)
    first = feedback.append([click(0)])
    assert sink.entered.acquire(timeout=SOON)
    second = feedback.append([click(1)])
    assert not feedback.close(timeout_s=0.01)
    assert second.exception(0).why is Why.UNAVAILABLE
    sink.gate.set()
    assert first.result(SOON) == 1
    assert sink.ids == ["i0"]


def test_a_full_disk_is_told_and_nothing_is_lost_or_there_twice(tmp_path, monkeypatch, caplog):
    with DiskLog(tmp_path / "log") as log:
        log.create("actions")
        with Feedback(lambda rows, at: log.append("actions", rows, partition=at), SCHEMA) as feedback:
            assert feedback.append([click(0)]).result(SOON) == 1

            def full(*_):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            with monkeypatch.context() as patch:
                patch.setattr(os, "pwritev", full)
                for _ in range(3):
                    refusal = feedback.append([click(1)]).exception(SOON)
                    assert (refusal.why, refusal.retry_after_s) == (Why.UNAVAILABLE, 5.0)
                    assert "send them again" in str(refusal)
                    assert str(tmp_path) not in str(refusal)  # clients are not told where things lie
            stats = feedback.stats
            assert (stats.written, stats.failed) == (1, 3)
            assert "No space left" in stats.trouble
            assert stats.gauges["feedback_trouble"] == 1.0
            assert len([record for record in caplog.records if "No space left" in record.message]) == 1
            assert feedback.append([click(1)]).result(SOON) == 1
            assert feedback.stats.trouble == ""
        consumer = log.consumer("actions")
        assert read_ids(consumer, 2) == ["i0", "i1"]


def by_number(rows):
    """A partition of three, by the number in the id."""
    return np.array([int(each[1:]) % 3 for each in rows["impression_id"].to_pylist()])


def of_partitions(sink):
    found = {}
    for partition, batch in zip(sink.partitions, sink.batches, strict=True):
        found.setdefault(partition, []).extend(batch["impression_id"].to_pylist())
    return found


def test_actions_go_to_their_partitions_those_of_one_together_and_in_order(sink):
    with Feedback(sink, SCHEMA, partitions=by_number) as feedback:
        sink.gate.clear()
        futures = [feedback.append([click(0)])]
        assert sink.entered.acquire(timeout=SOON)
        futures += [feedback.append([click(number), click(number + 1)]) for number in range(1, 9)]
        futures.append(feedback.append([]))
        sink.gate.set()
        assert [each.result(SOON) for each in futures] == [1, *[2] * 8, 0]
    assert sink.partitions == [0, 0, 1, 2]
    assert of_partitions(sink) == {
        0: ["i0", "i3", "i3", "i6", "i6", "i9"],
        1: ["i1", "i4", "i4", "i7", "i7"],
        2: ["i2", "i2", "i5", "i5", "i8", "i8"],
    }
    assert feedback.stats == FeedbackStats(written=17)


def test_of_what_one_partition_has_no_room_for_nothing_is_kept_if_it_comes_first(sink):
    sink.fail = lambda rows: StorageError("disk 0 is full") if by_number(rows)[0] == 0 else None
    with Feedback(sink, SCHEMA, partitions=by_number) as feedback:
        refusal = feedback.append([click(1), click(0)]).exception(SOON)
        assert (refusal.why, refusal.retry_after_s) == (Why.UNAVAILABLE, 5.0)
        assert "these were not kept: send them again" in str(refusal)
        assert sink.ids == []
        assert feedback.append([click(1), click(2)]).result(SOON) == 2  # that partition's trouble is its own
        assert feedback.stats == FeedbackStats(written=2, failed=2, trouble="disk 0 is full")


def test_what_was_kept_before_another_partition_failed_is_told_and_nobody_else_is_concerned(sink, caplog):
    sink.fail = lambda rows: StorageError("disk 2 is full") if by_number(rows)[0] == 2 else None
    with Feedback(sink, SCHEMA, partitions=by_number) as feedback:
        sink.gate.clear()
        futures = [feedback.append([click(0)])]
        assert sink.entered.acquire(timeout=SOON)
        futures += [
            feedback.append(each) for each in ([click(1), click(4), click(2)], [click(7)], [click(5)])
        ]
        sink.gate.set()
        _, some, other, none = [each.exception(SOON) for each in futures]
        assert other is None
        assert (some.why, some.retry_after_s, none.why) == (Why.UNAVAILABLE, 5.0, Why.UNAVAILABLE)
        assert "2 of these 3 were kept: send all again with the event ids that they had" in str(some)
        assert "these were not kept" in str(none)
        assert (feedback.stats.written, feedback.stats.failed, feedback.stats.waiting_bytes) == (4, 2, 0)
        assert feedback.append([click(1), click(2)]).exception(SOON) is not None
        assert len([record for record in caplog.records if "disk 2 is full" in record.message]) == 1
        sink.fail = None
        assert feedback.append([click(2)]).result(SOON) == 1
        assert feedback.stats.trouble == ""


def test_rows_that_the_log_refuses_in_one_partition_take_no_other_with_them(sink):
    sink.fail = lambda rows: DataError("poison") if "i13" in rows["impression_id"].to_pylist() else None
    with Feedback(sink, SCHEMA, partitions=by_number) as feedback:
        sink.gate.clear()
        first = feedback.append([click(0)])
        assert sink.entered.acquire(timeout=SOON)
        sent = ([click(13), click(14)], [click(10), click(11)], [click(12), click(13)])
        futures = [feedback.append(each) for each in sent]
        sink.gate.set()
        assert first.result(SOON) == 1
        alone, fine, part = [each.exception(SOON) for each in futures]
    assert (str(alone), fine) == ("poison", None)
    assert isinstance(part, DataError)
    assert "1 of these 2 were kept" in str(part)
    assert of_partitions(sink) == {0: ["i0", "i12"], 1: ["i10"], 2: ["i11"]}


def test_a_key_that_tells_no_partition_is_the_callers_fault(sink):
    def unable(rows):
        raise DataError("no key")

    with Feedback(sink, SCHEMA, partitions=unable) as feedback:
        assert "no key" in str(feedback.append([click(1)]).exception(SOON))
        assert feedback.stats.waiting_bytes == 0


def read_ids(consumer, count):
    found, until = [], time.monotonic() + SOON
    while len(found) < count and time.monotonic() < until:
        for events in consumer.poll(0.1):
            found += events.rows["impression_id"].to_pylist()
    return found


def test_threads_lose_nothing_and_write_nothing_twice(sink):
    random_failures = iter([None, StorageError("full"), None, None, StorageError("full")] * 1000)
    sink.fail = lambda rows: next(random_failures)
    with Feedback(sink, SCHEMA) as feedback:

        def send(thread):
            there = []
            for number in range(100):
                future = feedback.append([click(f"{thread}-{number}")], bearer=str(thread))
                if future.exception(SOON) is None:
                    there.append(f"i{thread}-{number}")
            return there

        with ThreadPoolExecutor(6) as threads:
            told = [id for ids in threads.map(send, range(6)) for id in ids]
    assert sorted(sink.ids) == sorted(told)
    stats = feedback.stats
    assert (stats.written, stats.failed, stats.waiting_bytes) == (len(told), 600 - len(told), 0)
    assert stats.failed > 0


@pytest.mark.parametrize("more", [{"time": "value_ms"}, {"time": "kind"}, {"event_id": "value"}])
def test_columns_that_are_filled_in_must_be_there(sink, more):
    with pytest.raises(ConfigError, match="of the actions"):
        Feedback(sink, SCHEMA, **more)


@pytest.mark.parametrize(
    ("name", "value"), [("waiting_bytes", 0), ("bearer_share", 0.0), ("together", 0), ("retry_s", -1.0)]
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ConfigError, match=name):
        FeedbackSettings(**{name: value})
