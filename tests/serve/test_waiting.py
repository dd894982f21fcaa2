import asyncio
import gc
import logging
import threading
import time
import weakref
from concurrent.futures import Future

import pytest

from larix.errors import DataError
from larix.serve.waiting import LATE_S, answered


def test_what_a_future_holds_is_waited_for_until_the_deadline():
    done, failed, never = Future(), Future(), Future()
    done.set_result(3)
    failed.set_exception(DataError("x"))
    assert asyncio.run(answered(done, time.monotonic())) == 3
    with pytest.raises(DataError):
        asyncio.run(answered(failed, time.monotonic() + 9))
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(answered(never, began - 5))
    assert LATE_S <= time.monotonic() - began < 5
    assert never.cancelled()


def test_work_that_goes_on_behind_its_deadline_is_not_waited_for():
    running = Future()
    running.set_running_or_notify_cancel()
    with pytest.raises(TimeoutError):
        asyncio.run(answered(running, time.monotonic() - 5))
    running.set_result(3)  # nobody is there any more


def test_work_that_others_cancel_has_no_answer_and_whoever_waits_goes_on():
    never = Future()

    async def wait():
        asyncio.get_running_loop().call_later(0.01, never.cancel)
        return await answered(never, time.monotonic() + 60)

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_what_is_done_on_the_loops_own_thread_wakes_nobody(monkeypatch):
    future = Future()

    async def wait():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *_: pytest.fail("the loop was woken"))
        loop.call_later(0.01, future.set_result, 3)
        found = await answered(future, time.monotonic() + 60)
        monkeypatch.undo()
        return found

    assert asyncio.run(wait()) == 3


def test_what_another_thread_computes_wakes_the_loop():
    future = Future()

    async def wait():
        threading.Thread(target=lambda: (time.sleep(0.05), future.set_result(3))).start()
        return await answered(future, time.monotonic() + 60)

    assert asyncio.run(wait()) == 3


def test_whoever_stops_waiting_cancels_the_work():
    never = Future()

    async def wait():
        task = asyncio.create_task(answered(never, time.monotonic() + 60))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(wait())
    assert never.cancelled()


def test_work_that_is_done_when_its_loop_has_ended_finds_nobody_and_says_nothing(caplog):
    running = Future()
    running.set_running_or_notify_cancel()
    with pytest.raises(TimeoutError):
        asyncio.run(answered(running, time.monotonic() - 5))
    with caplog.at_level(logging.DEBUG):
        thread = threading.Thread(target=running.set_result, args=(3,))
        thread.start()
        thread.join(10)
    assert running.result() == 3
    assert not caplog.records


def test_an_error_is_let_go_with_what_it_remembers():
    """Whatever a refused request held would stay until the next collection otherwise."""

    class Body:
        pass

    async def wait(body):
        future = Future()
        asyncio.get_running_loop().call_later(0.01, future.set_exception, DataError("x"))
        kept = weakref.ref(body)
        try:
            await answered(future, time.monotonic() + 60)
        except DataError:
            del future
        return kept

    gc.disable()
    try:
        kept = asyncio.run(wait(Body()))
        assert kept() is None
    finally:
        gc.enable()
