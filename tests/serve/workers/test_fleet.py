import json
import os
import signal
import sys
import time

import pytest

from larix.errors import ConfigError, StorageError
from larix.serve.workers.fleet import Fleet, FleetSettings

WORK = """
import asyncio, json, os, sys, threading
from pathlib import Path
from larix.serve.workers.worker import attend
told = json.loads(sys.stdin.readline())
if told.get("fails"):
    print(json.dumps(told["fails"]), flush=True)
    sys.exit(3)
if told.get("dies"):
    os._exit(9)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
async def main():
    async with attend(Path(told["socket"]), {}):
        print(json.dumps({"ready": f"number {told['number']}"}), flush=True)
        await asyncio.to_thread(over.wait)
    Path(told["socket"]).with_suffix(".done").touch()
asyncio.run(main())
"""


@pytest.fixture
def fleet(folder):
    made = []

    def make(count=2, *, told=lambda number: {}, **settings):
        def given(number):
            return json.dumps({"number": number, "socket": str(folder / f"{number}.socket"), **told(number)})

        fleet = Fleet((sys.executable, "-c", WORK), given, folder, FleetSettings(count=count, **settings))
        made.append(fleet)
        return fleet

    yield make
    for each in made:
        each.stop()


def eventually(what, seconds=120.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.02)


def test_all_answer_when_it_has_started_and_end_in_order_when_it_stops(fleet, folder):
    made = fleet()
    assert made.start().startswith("number ")
    assert all(member.up for member in made.members)
    processes = made.processes
    made.stop()
    assert (folder / "0.done").exists()
    assert (folder / "1.done").exists()
    assert made.processes == [0, 0]
    for each in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(each, 0)


def test_what_keeps_one_from_starting_is_raised_and_the_others_end(fleet):
    made = fleet(
        told=lambda number: {"fails": {"error": "ConfigError", "text": "no such thing"}} if number else {}
    )
    with pytest.raises(ConfigError, match="no such thing"):
        made.start()
    assert made.processes == [0, 0]


def test_one_that_ends_before_it_says_anything_is_told_with_its_status(fleet):
    made = fleet(1, told=lambda number: {"dies": True})
    with pytest.raises(StorageError, match="ended with status 9"):
        made.start()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_is_killed_or_hangs_is_started_again_and_the_others_go_on(fleet, number):
    made = fleet(hang_s=0.5, ping_s=0.1)
    made.start()
    before = made.processes
    os.kill(before[0], number)
    eventually(lambda: made.processes[0] not in (0, before[0]) and made.members[0].up)
    assert made.processes[1] == before[1]
    assert made.restarts == 1


def test_one_that_does_not_end_is_ended_when_time_is_up(fleet):
    made = fleet(1, stop_s=0.5, hang_s=60.0)
    made.start()
    os.kill(made.processes[0], signal.SIGSTOP)
    begun = time.monotonic()
    made.stop()
    assert time.monotonic() - begun < 20
    assert made.processes == [0]


def test_settings_that_cannot_be_are_told(tmp_path):
    with pytest.raises(ConfigError, match="set TMPDIR"):
        Fleet((), lambda _: "", tmp_path / ("x" * 100), FleetSettings(count=1))
    with pytest.raises(ConfigError, match="0 worker processes"):
        FleetSettings(count=0)
    with pytest.raises(ConfigError, match="hang_s is 0"):
        FleetSettings(count=1, hang_s=0)
