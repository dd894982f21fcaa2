import asyncio

from larix.serve.http.body import Bodies
from larix.serve.http.limits import Limits
from larix.serve.http.unread import Unread

LIMITS = Limits(body_bytes=1000, held_bytes=1000)


class Coming:
    def __init__(self):
        self.there = self.given_up = False

    def done(self):
        return self.there

    def cancel(self):
        self.given_up = not self.there


async def until(what):
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.01)


def test_a_body_has_its_room_until_it_is_there_and_nobody_waits_for_it():
    async def take():
        bodies = Bodies(LIMITS)
        unread, coming = Unread(bodies, body_s=60), [Coming() for _ in range(3)]
        for each in coming:
            unread.take(100, lambda each=each: each)
        await asyncio.sleep(0.2)
        assert bodies.held_bytes == 300
        coming[0].there = coming[2].there = True
        await until(lambda: bodies.held_bytes == 100)
        coming[1].there = True
        await until(lambda: bodies.held_bytes == 0)
        assert not any(each.given_up for each in coming)
        late = Coming()
        late.there = True
        unread.take(100, lambda: late)  # it looks again
        assert bodies.held_bytes == 100
        await until(lambda: bodies.held_bytes == 0)

    asyncio.run(take())


def test_one_that_does_not_come_in_time_is_given_up():
    async def take():
        bodies = Bodies(LIMITS)
        unread, never = Unread(bodies, body_s=0.2), Coming()
        unread.take(100, lambda: never)
        await until(lambda: never.given_up)
        assert bodies.held_bytes == 0

    asyncio.run(take())


def test_one_for_which_there_is_no_room_or_that_cannot_come_is_left():
    async def take():
        bodies, asked = Bodies(LIMITS), []
        unread = Unread(bodies, body_s=60)
        unread.take(900, Coming)
        unread.take(200, lambda: asked.append(1))
        assert (bodies.held_bytes, asked) == (900, [])

        def gone():
            raise RuntimeError

        unread.take(50, gone)
        assert bodies.held_bytes == 900

    asyncio.run(take())
