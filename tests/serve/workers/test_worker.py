import asyncio
import logging
import stat
import threading

import pytest
from engine_fakes import ONE, Gated, engine, request

from larix.errors import DataError
from larix.serve import Refusal, Why
from larix.serve.workers.frames import PING, Told


async def echo(asked, body):
    return Told(headers=(("who", asked.bearer),)), body[::-1]


async def fail(asked, body):
    raise {"data": DataError("bad"), "refused": Refusal(Why.EXPIRED, "gone")}.get(asked.id) or ValueError(
        "odd"
    )


def test_questions_are_answered_by_kind_and_all_at_once(attended):
    release = None

    async def slow(asked, body):
        await release.wait()
        return Told(), b"slow"

    async def ask():
        nonlocal release
        release = asyncio.Event()
        async with attended({"echo": echo, "slow": slow}) as dispatch:
            waiting = asyncio.create_task(dispatch.ask("slow"))
            for _ in range(20):
                told, body = await dispatch.ask("echo", b"abc", bearer="me")
                assert (body, told.headers) == (b"cba", (("who", "me"),))
            assert not waiting.done()
            release.set()
            assert (await waiting)[1] == b"slow"

    asyncio.run(ask())


def test_what_goes_wrong_is_raised_by_whoever_asked_and_a_fault_is_logged(attended, caplog):
    async def ask():
        async with attended({"fail": fail}) as dispatch:
            with pytest.raises(DataError, match="bad"):
                await dispatch.ask("fail", id="data")
            with pytest.raises(Refusal) as refused:
                await dispatch.ask("fail", id="refused")
            assert refused.value.why is Why.EXPIRED
            assert not caplog.records
            with pytest.raises(RuntimeError, match="ValueError in a worker"):
                await dispatch.ask("fail", id="77")
            with pytest.raises(RuntimeError, match="KeyError"):
                await dispatch.ask("nothing of the kind")

    with caplog.at_level(logging.ERROR, "larix.serve.workers"):
        asyncio.run(ask())
    assert [record.request for record in caplog.records] == ["77", ""]
    assert "odd" in caplog.text


def test_every_worker_answers_a_ping_and_its_socket_is_its_owners_alone(attended, folder):
    async def ask():
        async with attended({}) as dispatch:
            assert stat.S_IMODE((folder / "0.socket").stat().st_mode) == 0o600
            assert (await dispatch.ask(PING, b"x"))[1] == b"x"

    asyncio.run(ask())


def test_an_engine_of_one_worker_computes_on_the_workers_own_loop_which_answers_pings_between(attended):
    where, scored = [], []

    class Watched(Gated):
        def score(self, looked):
            where.append(threading.get_ident())
            return super().score(looked)

    async def rank(asked, body):
        answer = await asyncio.wrap_future(made.submit(request(10)))
        scored.append(len(scorer.runs))
        return Told(), str(answer.value.size).encode()

    async def ask():
        async with attended({"rank": rank}) as dispatch:
            ranked = [asyncio.create_task(dispatch.ask("rank")) for _ in range(8)]
            while not where:
                await asyncio.sleep(0)
            await dispatch.ask(PING)
            answered = sum(each.done() for each in ranked)
            return answered, [(await each)[1] for each in ranked]

    scorer = Watched(seconds=0.03, shared=100.0)  # each alone: runs of several cost more
    with engine(scorer, ONE) as made:
        before, answers = asyncio.run(ask())
    assert answers == [b"10"] * 8
    assert before < 8
    assert set(where) == {threading.get_ident()}
