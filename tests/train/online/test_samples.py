import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from larix.data.log import DiskLog
from larix.errors import ConfigError, StorageError
from larix.train.online import LoggedSamples


def batch(ids, times):
    return pa.record_batch({"id": pa.array(ids, pa.int64()), "ready_ms": pa.array(times, pa.int64())})


def strange(rows, chance):
    """A column that some producers write as numbers, some as text; some leave it out, some have it twice."""
    kind = chance.choice(["whole", "short", "real", "text", "none", "missing", "twice"])
    if kind == "missing":
        return rows
    if kind == "none":
        return rows.append_column("odd", pa.nulls(len(rows)))
    type_ = {"whole": pa.int64(), "short": pa.int32(), "real": pa.float64()}.get(kind, pa.string())
    values = pa.array([None if chance.random() < 0.3 else int(chance.integers(9)) for _ in range(len(rows))])
    rows = rows.append_column("odd", values.cast(type_))
    return rows.append_column("odd", values) if kind == "twice" else rows


def filled(folder, partitions, appends, chance, then=lambda rows, chance: rows):
    """A log whose partitions' times rise, but for some that fall behind."""
    log = DiskLog(folder)
    log.create("samples", partitions=partitions)
    clock = [0] * partitions
    number = 0
    for _ in range(appends):
        partition = int(chance.integers(partitions))
        rows = int(chance.integers(1, 9))
        times = clock[partition] + np.cumsum(chance.integers(0, 5, rows)) - chance.integers(0, 2, rows) * 3
        clock[partition] = int(times.max())
        log.append("samples", then(batch(range(number, number + rows), times), chance), partition=partition)
        number += rows
    return log, number


def ids_of(tables):
    return [one for table in tables if len(table) for one in table["id"].to_pylist()]


def drained(samples):
    found = []
    while len(part := samples.poll(0.0)):
        found.append(part)
    return found


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    seed=st.integers(0, 2**32),
    partitions=st.integers(1, 4),
    appends=st.integers(1, 30),
    max_rows=st.integers(1, 40),
    then=st.sampled_from([strange, lambda rows, chance: rows]),
)
def test_the_order_is_the_same_however_it_is_read_and_wherever_it_is_taken_up(
    tmp_path_factory, seed, partitions, appends, max_rows, then
):
    chance = np.random.default_rng(seed)
    log, rows = filled(tmp_path_factory.mktemp("log"), partitions, appends, chance, then)
    whole = LoggedSamples(log, "samples", max_rows=1000)
    expected = ids_of([*drained(whole), *iter(whole.finish, pa.table({}))])
    assert sorted(expected) == list(range(rows))
    samples = LoggedSamples(log, "samples", max_rows=max_rows)
    found = []
    while True:
        part = samples.poll(0.0)
        found += ids_of([part])
        if not len(part):
            break
        assert len(part) <= partitions * (40 + 8)
        if chance.random() < 0.4:
            said = json.loads(json.dumps(samples.save(None)))
            samples.close()
            samples = LoggedSamples(log, "samples", max_rows=int(chance.integers(1, 40)))
            samples.restore(said, None)
    while len(part := samples.finish()):
        found += ids_of([part])
    assert found == expected
    assert samples.lag == 0
    for each in (whole, samples, log):
        each.close()


def test_a_partition_that_says_nothing_holds_the_others_back_until_the_end(tmp_path):
    with DiskLog(tmp_path / "log") as log:
        log.create("samples", partitions=2)
        log.append("samples", batch([1, 2], [10, 20]))
        samples = LoggedSamples(log, "samples")
        assert ids_of([samples.poll(0.01)]) == []
        assert samples.lag == 2
        log.append("samples", batch([3, 4], [15, 16]), partition=1)
        assert ids_of([samples.poll(0.01)]) == [
            1,
            3,
            4,
        ]  # more of 16 may come, but in the same partition, so after it
        assert ids_of([samples.finish()]) == [2]
        samples.close()


def test_a_partition_that_is_idle_for_long_enough_holds_nobody_back_and_loses_nothing(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("larix.train.online.lane.monotonic", lambda: now[0])
    with DiskLog(tmp_path / "log") as log:
        log.create("samples", partitions=3)
        samples = LoggedSamples(log, "samples", idle_s=30, max_rows=2)
        log.append("samples", batch([1, 2, 3], [10, 20, 30]))
        log.append("samples", batch([4, 5], [15, 40]), partition=1)
        now[0] += 29
        assert ids_of([samples.poll(0.0)]) == [], "partition 2 may still say something"
        now[0] += 1.5
        assert ids_of([samples.poll(0.0)]) == [1, 4, 2, 3], (
            "it is not asked; partition 0 is, for it spoke a second ago"
        )
        now[0] += 30
        assert ids_of([samples.poll(0.0)]) == [5], "nobody has anything to come"
        log.append("samples", batch([6, 7], [12, 50]), partition=2)
        log.append("samples", batch([8], [45]))
        log.append("samples", batch([9], [60]), partition=1)
        assert ids_of([samples.poll(0.0)]) == [6, 8], "what is old comes first, and late"
        now[0] += 100
        assert ids_of([samples.poll(0.0), samples.poll(0.0)]) == [7, 9]
        assert samples.lag == 0
        samples.close()
        with pytest.raises(ConfigError, match="idle_s is 0"):
            LoggedSamples(log, "samples", idle_s=0)


@pytest.mark.parametrize("crowded", [0, 1, 2])
def test_more_samples_of_one_time_than_are_held_at_once_hold_nobody_up(tmp_path, crowded):
    with DiskLog(tmp_path / "log") as log:
        log.create("samples", partitions=3)
        for partition in range(3):
            times = [5] * 60 + [9] if partition == crowded else [1, 5, 9]
            for at, time in enumerate(times):
                log.append("samples", batch([100 * partition + at], [time]), partition=partition)
        orders = []
        for max_rows in (1, 7, 1000):
            samples = LoggedSamples(log, "samples", max_rows=max_rows)
            orders.append(ids_of([*drained(samples), *iter(samples.finish, pa.table({}))]))
            assert samples.lag == 0
            samples.close()
        assert orders[0] == orders[1] == orders[2]
        assert len(orders[0]) == 67


def test_what_comes_while_it_waits_is_handed_out(tmp_path):
    with DiskLog(tmp_path / "log") as log:
        log.create("samples")
        samples = LoggedSamples(log, "samples")
        assert not len(samples.poll(0.001))
        log.append("samples", batch([1], [1]))
        assert ids_of([samples.poll(5.0)]) == [1]
        samples.close()


def test_the_rate_of_negatives_is_said_of_every_sample(tmp_path):
    with DiskLog(tmp_path / "log") as log:
        log.create("samples")
        rows = batch([1, 2], [1, 2]).append_column("sample_rate", pa.array([1.0, 0.5], pa.float32()))
        log.append("samples", rows)
        log.append("samples", batch([3], [3]))
        samples = LoggedSamples(log, "samples", rate=0.5)
        assert samples.poll(0.0)["sample_rate"].to_pylist() == [0.5] * 3
        samples.close()


NOON = 1_700_000_000_000
HOUR = 3_600_000


def clocked(folder, appends, partitions=1):
    """A log whose clock stands at noon."""
    log = DiskLog(folder, clock=lambda: NOON)
    log.create("samples", partitions=partitions)
    for partition, ids, times in appends:
        log.append("samples", batch(ids, times), partition=partition)
    return log


def test_samples_of_the_future_are_left_out_counted_and_move_no_other(tmp_path):
    far = NOON + 80 * 365 * 24 * HOUR
    appends = [
        (0, [1, 2, 3], [NOON, far, NOON + 1]),
        (1, [4], [far]),
        (1, [5, 6], [NOON, NOON + 2]),
        (0, [7], [NOON + 3]),
    ]
    with clocked(tmp_path / "log", appends, partitions=2) as log:
        samples = LoggedSamples(log, "samples")
        assert ids_of([samples.poll(0.0)]) == [1, 5, 3, 6], "partition 1 has come to noon and 2 ms"
        assert samples.future == 2
        assert ids_of([samples.finish()]) == [7]
        assert samples.lag == 0
        samples.close()
        trusting = LoggedSamples(log, "samples", ahead_s=None)
        assert ids_of([trusting.poll(0.0), trusting.finish()]) == [1, 2, 3, 7, 4, 5, 6], (
            "nobody waits for anybody"
        )
        assert trusting.future == 0
        trusting.close()


def test_in_the_middle_of_an_append_it_goes_on_behind_what_was_handed_out_and_counts_no_row_again(tmp_path):
    far = NOON + 48 * HOUR
    appends = [(0, [2, 1, 5, 3], [far, NOON, far, NOON + 10]), (1, [4], [NOON + 5])]
    with clocked(tmp_path / "log", appends, partitions=2) as log:
        samples = LoggedSamples(log, "samples")
        assert ids_of([samples.poll(0.0)]) == [1, 4]
        said = json.loads(json.dumps(samples.save(None)))
        assert samples.future == 2
        assert ids_of([samples.finish()]) == [3]
        samples.close()
        again = LoggedSamples(log, "samples")
        again.restore(said, None)
        assert ids_of([again.finish()]) == [3]
        assert again.future == 0
        again.close()
        trusting = LoggedSamples(log, "samples", ahead_s=None)  # as it was not told before
        trusting.restore(said, None)
        assert ids_of([trusting.finish()]) == [3]
        trusting.close()


@pytest.mark.parametrize(
    ("ahead_s", "kept"), [(0, [1]), (1, [1, 2]), (1.001, [1, 2, 3]), (86_400, [1, 2, 3, 4])]
)
def test_a_sample_may_be_so_much_ahead_and_no_more(tmp_path, ahead_s, kept):
    times = [NOON, NOON + 1000, NOON + 1001, NOON + 24 * HOUR, NOON + 24 * HOUR + 1]
    with clocked(tmp_path / "log", [(0, [1, 2, 3, 4, 5], times)]) as log:
        samples = LoggedSamples(log, "samples", ahead_s=ahead_s)
        assert ids_of([samples.poll(0.0)]) == kept
        assert samples.future == 5 - len(kept)
        samples.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    future=st.lists(st.lists(st.booleans(), min_size=1, max_size=8), min_size=1, max_size=8),
    seed=st.integers(0, 2**32),
)
def test_those_left_out_leave_no_trace_wherever_it_is_taken_up(tmp_path_factory, future, seed):
    chance = np.random.default_rng(seed)
    folder, number, appends, expected = tmp_path_factory.mktemp("log"), 0, [], []
    for flags in future:
        ids = list(range(number, number + len(flags)))
        partition = int(chance.integers(2))
        times = [NOON + (48 * HOUR if flag else one) for flag, one in zip(flags, ids, strict=True)]
        appends.append((partition, ids, times))
        expected += [one for flag, one in zip(flags, ids, strict=True) if not flag]
        number += len(flags)
    with clocked(folder / "log", appends, partitions=2) as log:
        samples, found = LoggedSamples(log, "samples", max_rows=4), []
        while len(part := samples.poll(0.0)) or len(part := samples.finish()):
            found += ids_of([part])
            if chance.random() < 0.5:
                said = json.loads(json.dumps(samples.save(None)))
                samples.close()
                samples = LoggedSamples(log, "samples", max_rows=int(chance.integers(1, 9)))
                samples.restore(said, None)
        samples.close()
    assert found == expected


@pytest.mark.parametrize("ahead_s", [-1, float("nan"), float("inf")])
def test_an_ahead_that_is_no_time_is_told(tmp_path, ahead_s):
    with clocked(tmp_path / "log", []) as log, pytest.raises(ConfigError, match="ahead_s is"):
        LoggedSamples(log, "samples", ahead_s=ahead_s)


def test_another_log_or_topic_is_refused(tmp_path):
    with DiskLog(tmp_path / "a") as log, DiskLog(tmp_path / "b") as other:
        for each in (log, other):
            each.create("samples")
        with pytest.raises(ConfigError, match="there is no topic 'absent'"):
            LoggedSamples(log, "absent")
        said = LoggedSamples(log, "samples").save(None)
        with pytest.raises(ConfigError, match="give those that it was trained on"):
            LoggedSamples(other, "samples").restore(said, None)


def test_a_partition_that_was_added_since_is_read_from_its_oldest_sample(tmp_path):
    with DiskLog(tmp_path / "log") as log:
        log.create("samples", partitions=2)
        log.append("samples", batch([1, 2], [10, 20]))
        samples = LoggedSamples(log, "samples")
        assert ids_of([samples.finish()]) == [1, 2]
        said = samples.save(None)
        del said["partitions"]["1"]  # as of a topic in Kafka, which can be given more
        log.append("samples", batch([3], [30]))
        log.append("samples", batch([4, 5], [5, 40]), partition=1)
        again = LoggedSamples(log, "samples")
        again.restore(said, None)
        assert ids_of([again.finish()]) == [4, 3, 5]
        for each in (samples, again):
            each.close()


def test_a_damaged_segment_is_named_and_may_be_passed_over(tmp_path):
    with DiskLog(tmp_path / "log") as log:
        log.create("samples")
        for number in range(20):
            log.append("samples", batch([number], [number]))
    segment = next((tmp_path / "log").rglob("*.segment"))
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 1
    segment.write_bytes(raw)
    with DiskLog(tmp_path / "log") as log:
        samples = LoggedSamples(log, "samples", max_rows=1)
        with pytest.raises(StorageError, match=f"'{segment}' is damaged"):
            drained(samples)
        skipping = LoggedSamples(log, "samples", skip_lost=True)
        found = ids_of(drained(skipping))
        assert skipping.lost == 20 - len(found) > 0
        assert found == sorted(found)
