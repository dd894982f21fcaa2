import asyncio
import time
from concurrent.futures import Future

import msgspec
import pytest

from larix.errors import DataError
from larix.serve import Refusal, Why
from larix.serve.http import Limits
from larix.serve.http.call import LATE_S, answered, document_of


def test_json_beyond_its_limit_is_not_looked_at():
    decoder = msgspec.json.Decoder(dict)
    limits = Limits(json_bytes=10)
    assert document_of(decoder, b'{"a": 1}', limits) == {"a": 1}
    assert document_of(decoder, memoryview(b'{"a": 1}'), limits) == {"a": 1}
    with pytest.raises(Refusal, match="at most 10") as told:
        document_of(decoder, b'{"a":      1}', limits)
    assert told.value.why is Why.TOO_LARGE


@pytest.mark.parametrize("body", [b"[1]", b"{", b"\xff", b'{"a":' * 100_000])
def test_what_is_not_expected_is_a_mistake_of_the_client(body):
    with pytest.raises(DataError, match=r"^the body: "):
        document_of(msgspec.json.Decoder(dict), body, Limits())


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
