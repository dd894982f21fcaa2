import numpy as np
import pyarrow as pa
import pytest

from larix.data.log import DiskLog, KafkaLog, Retention
from larix.embedding import Message
from larix.errors import ConfigError, StorageError
from larix.train.online import Deltas
from larix.train.online.deltas import DeltaReader, DeltaWriter


def message(kind="rows", last=1, payload=b"", **given):
    return Message(
        kind=kind, history="h", last=last, marks=np.array([last], np.uint64), payload=payload, **given
    )


@pytest.fixture
def log(tmp_path):
    with DiskLog(tmp_path / "log", segment_bytes=1 << 14) as opened:
        yield opened


def reader_at(deltas, found, tmp_path):
    reader = DeltaReader(deltas, tmp_path)
    reader.seek(found)
    return reader


def drained(reader):
    found = []
    while part := reader.poll(0.0):
        found += part
    return found


def test_messages_come_back_as_they_went_in_parts(log, tmp_path):
    deltas = Deltas(log=log, chunk=10)
    writer = DeltaWriter(deltas)
    begun = writer.write(message("fence", version="v", after=7, step=3, event_ms=4))
    writer.write(message(payload=b"0123456789" * 2 + b"abc", first=1))
    writer.write(message("dense", payload=b"w"))
    reader = DeltaReader(deltas, tmp_path)
    assert reader.poll(0.0) == ()
    found = reader.newest()
    assert (found.kind, found.version, found.after, found.step, found.event_ms) == ("fence", "v", 7, 3, 4)
    assert found.offset == 0
    assert found.time_ms == begun.time_ms
    reader = reader_at(deltas, message(after=0), tmp_path)
    told = drained(reader)
    assert [(each.kind, each.part, each.parts) for each in told] == [
        ("fence", 0, 1),
        ("rows", 0, 3),
        ("rows", 1, 3),
        ("rows", 2, 3),
        ("dense", 0, 1),
    ]
    assert b"".join(each.payload for each in told[1:4]) == b"0123456789" * 2 + b"abc"
    assert len({each.group for each in told}) == 3
    assert [each.offset for each in told] == [0, 1, 2, 3, 4]
    assert told[1].marks.tolist() == [1]
    assert writer.end() == 5
    reader.close()


def test_over_kafka_it_is_the_same(tmp_path):
    pytest.importorskip("confluent_kafka")
    from log_kafka import QUIET, Mock

    mock = Mock()
    mock.make("deltas")
    with KafkaLog(mock.servers, options=QUIET) as log:
        deltas = Deltas(log=log, chunk=10)
        writer = DeltaWriter(deltas)
        writer.write(message("fence", version="v"))
        writer.write(message(payload=b"0123456789abc", first=1))
        assert writer.end() == 3
        reader = DeltaReader(deltas, tmp_path)
        found = reader.newest()
        assert (found.kind, found.version, found.offset) == ("fence", "v", 0)
        reader.seek(found)
        told = []
        while len(told) < 2:
            told += reader.poll(1.0)
        assert [(each.part, each.offset) for each in told] == [(0, 1), (1, 2)]
        assert b"".join(each.payload for each in told) == b"0123456789abc"
        reader.close()


def test_without_a_topic_there_is_nothing_yet(log, tmp_path):
    assert DeltaReader(Deltas(log=log), tmp_path).newest() is None


def test_damage_is_named_once_and_then_gone_past(log, tmp_path):
    deltas = Deltas(log=log)
    writer = DeltaWriter(deltas)
    for number in range(6):
        writer.write(message(payload=bytes(4000), last=number))
    segment = sorted((tmp_path / "log").rglob("*.segment"))[0]
    raw = bytearray(segment.read_bytes())
    raw[2000] ^= 1
    segment.write_bytes(raw)
    reader = reader_at(deltas, message(after=0), tmp_path)
    with pytest.raises(StorageError, match=f"'{segment}' is damaged"):
        reader.poll(0.0)
    assert [each.last for each in drained(reader)] == [1, 2, 3, 4, 5]
    writer.write(message("snapshot", last=9, version="v"))
    assert reader.newest().last == 9
    assert [each.last for each in drained(reader)] == [9]
    reader.close()


def test_what_retention_took_is_told_and_the_rest_is_read(log, tmp_path):
    deltas = Deltas(log=log, retention=Retention(size_bytes=40_000))
    writer = DeltaWriter(deltas)
    for number in range(40):
        writer.write(message(payload=bytes(4000), last=number))
    reader = reader_at(deltas, message(after=0), tmp_path)
    with pytest.raises(StorageError, match="older events are gone"):
        reader.poll(0.0)
    told = [each.last for each in drained(reader)]
    assert told == list(range(told[0], 40))
    assert 5 < len(told) < 20
    reader.close()


def test_versions_that_are_gone_are_told(log, tmp_path):
    with pytest.raises(StorageError, match=r"step-0000000007' is gone; there is none"):
        DeltaReader(Deltas(log=log), tmp_path).version("step-0000000007")


def test_columns_of_later_versions_are_passed_over(log, tmp_path):
    deltas = Deltas(log=log)
    DeltaWriter(deltas).write(message("fence", version="v"))
    with log.consumer("deltas") as consumer:
        rows = consumer.poll(0.0)[0].rows
    log.append("deltas", rows.append_column("more", pa.array(["x"])))
    assert DeltaReader(deltas, tmp_path).newest().offset == 1


def test_a_chunk_has_a_size(log):
    with pytest.raises(ConfigError, match="at least 1"):
        Deltas(log=log, chunk=0)
