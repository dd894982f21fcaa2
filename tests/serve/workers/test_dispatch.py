import asyncio
from collections import Counter

import pytest

from larix.serve import Refusal, Why
from larix.serve.workers.frames import Told, failure_of


def named(name, gate=None):
    async def answer(asked, body):
        if gate is not None:
            await gate.wait()
        return Told(), name.encode()

    return {"who": answer}


def test_they_take_turns_while_nothing_is_under_way(attended):
    async def ask():
        async with attended(named("0"), named("1"), named("2")) as dispatch:
            found = [(await dispatch.ask("who"))[1] for _ in range(9)]
        assert Counter(found) == {b"0": 3, b"1": 3, b"2": 3}

    asyncio.run(ask())


def test_the_one_with_the_least_under_way_is_asked(attended):
    async def ask():
        gate = asyncio.Event()
        async with attended(named("slow", gate), named("quick")) as dispatch:
            stuck = [asyncio.create_task(dispatch.ask("who", bytes(100))) for _ in range(2)]
            await asyncio.sleep(0.05)
            found = [(await dispatch.ask("who"))[1] for _ in range(10)]
            assert found == [b"quick"] * 10
            gate.set()
            assert {(await each)[1] for each in stuck} == {b"slow", b"quick"}
            assert [member.weight for member in dispatch.members] == [0, 0]

    asyncio.run(ask())


def test_much_weighs_more_than_many(attended):
    async def ask():
        gates = [asyncio.Event(), asyncio.Event()]
        async with attended(named("0", gates[0]), named("1", gates[1])) as dispatch:
            tasks = [asyncio.create_task(dispatch.ask("who", bytes(1 << 20), worker=0))]
            tasks += [asyncio.create_task(dispatch.ask("who", worker=1)) for _ in range(5)]
            await asyncio.sleep(0.05)
            tasks.append(asyncio.create_task(dispatch.ask("who")))
            gates[1].set()
            assert (await tasks[-1])[1] == b"1"
            gates[0].set()
            await asyncio.gather(*tasks)

    asyncio.run(ask())


def test_what_does_no_harm_twice_is_asked_of_another_when_a_worker_ends(attended):
    async def ask():
        ends = {}

        def ending(name):
            async def answer(asked, body):
                ends.setdefault(name, 0)
                ends[name] += 1
                if len(ends) == 1:  # the first that is asked ends with the question
                    for end in list(links()):
                        end.close()
                    await asyncio.sleep(0.05)
                return Told(), name.encode()

            return {"who": answer}

        def links():
            at = int(next(iter(ends)))
            return [link._end for link, _ in dispatch.members[at].links.values()]

        async with attended(ending("0"), ending("1")) as dispatch:
            _, body = await dispatch.ask("who", again=True)
            first = next(iter(ends))
            assert body.decode() != first
            ends.clear()
            with pytest.raises(Refusal, match="has ended") as refused:
                await dispatch.ask("who")
            assert refused.value.why is Why.UNAVAILABLE
            assert refused.value.retry_after_s

    asyncio.run(ask())


def test_a_worker_that_is_down_is_not_asked_and_without_any_nobody_is(attended):
    async def ask():
        async with attended(named("0"), named("1")) as dispatch:
            dispatch.members[0].up = False
            assert {(await dispatch.ask("who"))[1] for _ in range(4)} == {b"1"}
            dispatch.members[1].up = False
            with pytest.raises(Refusal, match="no worker process is ready"):
                await dispatch.ask("who", again=True)

    asyncio.run(ask())


def test_a_worker_that_comes_back_is_connected_to_again(attended):
    async def ask():
        async with attended(named("old")) as dispatch:
            assert (await dispatch.ask("who"))[1] == b"old"
            dispatch.members[0].path.unlink()
            links = [link for link, _ in dispatch.members[0].links.values()]
            links[0]._end.close()
            await asyncio.sleep(0.05)
            with pytest.raises(Refusal, match="has ended"):
                await dispatch.ask("who")
            async with attended(named("new")):
                assert (await dispatch.ask("who"))[1] == b"new"

    asyncio.run(ask())


def test_several_loops_ask_each_over_a_connection_of_its_own(attended):
    async def ask():
        async with attended(named("0")) as dispatch:
            await dispatch.ask("who")
            other = await asyncio.to_thread(lambda: asyncio.run(dispatch.ask("who")))
            assert other[1] == b"0"
            assert len(dispatch.members[0].links) == 2

    asyncio.run(ask())


def test_a_worker_that_is_about_to_stop_leaves_what_may_be_asked_again_to_another(attended):
    async def stopping(asked, body):
        raise Refusal(Why.UNAVAILABLE, "about to stop")

    async def ask():
        async with attended({"who": stopping}, named("1")) as dispatch:
            assert {(await dispatch.ask("who", again=True))[1] for _ in range(4)} == {b"1"}
            with pytest.raises(Refusal, match="about to stop"):
                await asyncio.gather(dispatch.ask("who"), dispatch.ask("who"))
        async with attended({"who": stopping}, {"who": stopping}) as dispatch:
            with pytest.raises(Refusal, match="about to stop"):
                await dispatch.ask("who", again=True)

    asyncio.run(ask())


def test_a_full_worker_is_let_be_for_a_moment_and_when_all_are_nobody_is_asked(attended):
    asked = []

    def full(name):
        async def answer(asked_, body):
            asked.append(name)
            return Told(
                failure=failure_of(Refusal(Why.OVERLOADED, "full", retry_after_s=0.2)), full=True
            ), b""

        return {"who": answer}

    async def ask():
        async with attended(full("0"), named("1")) as dispatch:
            dispatch.check_room()
            assert {(await dispatch.ask("who", again=True))[1] for _ in range(6)} == {b"1"}
            dispatch.check_room()
            assert asked.count("0") < 6
        asked.clear()
        async with attended(full("0"), full("1")) as dispatch:
            with pytest.raises(Refusal, match="full"):
                await dispatch.ask("who", again=True)
            assert sorted(asked) == ["0", "1"]
            with pytest.raises(Refusal, match="full") as refused:
                dispatch.check_room()
            assert refused.value.retry_after_s == 0.2
            await asyncio.sleep(0.05)
            dispatch.check_room()

    asyncio.run(ask())


def test_workers_with_as_much_to_do_as_may_wait_are_full_until_they_have_done_it(attended):
    async def ask():
        gate = asyncio.Event()

        async def slow(asked, body):
            await (asyncio.sleep(0.02) if not asked.id else gate.wait())
            return Told(), b""

        async with attended({"who": slow}) as dispatch:
            for _ in range(8):
                await dispatch.ask("who", bytes(1000), again=True)
            dispatch.check_room()
            waiting = [
                asyncio.create_task(dispatch.ask("who", bytes(1000), again=True, id="x")) for _ in range(20)
            ]
            await asyncio.sleep(0.05)
            with pytest.raises(Refusal, match="all 1 worker processes are full") as refused:
                dispatch.check_room()
            assert refused.value.why is Why.OVERLOADED
            assert refused.value.retry_after_s
            gate.set()
            await asyncio.gather(*waiting)
            dispatch.check_room()

    asyncio.run(ask())


def test_how_fast_a_worker_is_only_scoring_tells(attended):
    async def ask():
        async def slow(asked, body):
            await asyncio.sleep(0.05)
            return Told(), b""

        async with attended({"load": slow, "who": slow}) as dispatch:
            await dispatch.ask("load", b"x")
            assert dispatch.members[0].speed == 0
            await dispatch.ask("who", bytes(1000), again=True)
            assert 0 < dispatch.members[0].speed < 5100 / 0.05

    asyncio.run(ask())
