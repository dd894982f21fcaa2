import json
import os
from pathlib import Path

from onlining import Recorder

from larix.train.online import Alarm, Progress, Published, Saved, journal
from larix.train.online.journal import Journal


def progress(step, seconds=0.0):
    return Progress(
        step=step,
        samples=step * 10,
        event_ms=step,
        lag=0,
        pending=0,
        skipped=0,
        held="",
        losses={"click": 0.5},
        seconds=seconds,
    )


def published(step):
    return Published(
        kind="rows",
        step=step,
        sequence=step,
        rows=1,
        removed=0,
        bytes=9,
        event_ms=1,
        time_ms=2,
        seconds=0.1,
    )


def test_what_a_watcher_is_told_is_a_line_each(tmp_path):
    recorder = Recorder()
    told = Journal(tmp_path, 0, recorder)
    told.progressed(progress(1, 0.0))
    told.progressed(progress(2, 0.5))  # progress is written once a second
    told.progressed(progress(3, 1.0))
    told.published(published(3))
    told.saved(Saved(step=3, path=Path("versions/step-3"), seconds=0.2))
    told.alarmed(Alarm(step=3, what="held", text="x"))
    told.close()
    lines = journal.read(tmp_path / "online.jsonl")
    assert [(each["kind"], each["step"]) for each in lines] == [
        ("progress", 1),
        ("progress", 3),
        ("published", 3),
        ("saved", 3),
        ("alarm", 3),
    ]
    assert lines[2]["what"] == "rows"
    assert lines[3]["path"] == "step-3"
    assert len(recorder.told) == 6


def test_lines_of_a_lost_future_go_when_it_is_gone_on_with(tmp_path):
    told = Journal(tmp_path, 0, Recorder())
    for step in range(1, 6):
        told.alarmed(Alarm(step=step, what="skipped", text=""))
    told.close()
    with (tmp_path / "online.jsonl").open("a") as file:
        file.write('{"kind": "alarm", "st')  # a crash in the midst of a line
    told = Journal(tmp_path, 3, Recorder())
    told.alarmed(Alarm(step=4, what="skipped", text="again"))
    told.close()
    lines = journal.read(tmp_path / "online.jsonl")
    assert [(each["step"], each["text"]) for each in lines] == [(1, ""), (2, ""), (3, ""), (4, "again")]


def test_a_line_that_cannot_be_written_is_lost_and_stops_nothing(tmp_path):
    if not os.path.exists("/dev/full"):
        return
    told = Journal(tmp_path, 0, Recorder())
    told._file.close()
    with open("/dev/full", "w") as full:
        told._file = full
        told.alarmed(Alarm(step=1, what="held", text="x" * 10_000))
        assert "cannot be written: No space left" in told.failure
        told._file = None
        told.close()


def test_a_journal_that_is_not_there_has_no_lines(tmp_path):
    assert journal.read(tmp_path / "online.jsonl") == []
    assert json.loads("[]") == []
