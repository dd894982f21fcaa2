"""A stand-in for an engine: sides and answers that tell whose they are, computed when a test says so."""

import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from larix.serve import Answer, Refusal, Request, Stamp, User

STAMP = Stamp(model="feed", version="v1")


def context(user, **more):
    return pa.RecordBatch.from_pydict({"user": [user], **{name: [value] for name, value in more.items()}})


def candidates(items):
    return pa.RecordBatch.from_pydict({"item": pa.array(list(items), pa.int64())})


def asking(session, items=(1, 2), id="", **more):
    return Request(id=id, session=session, candidates=candidates(items), **more)


def opened(sessions, user=1, **more):
    return sessions.open(model="feed", context=context(user), **more).result(0)


def refused(future):
    refusal = future.exception(0)
    assert isinstance(refusal, Refusal)
    return refusal


def value_of(user, items):
    """What a user's answer says of items; no other user's does."""
    return user * 1000.0 + np.asarray(items)


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


class FakeSide:
    columns = None

    def __init__(self, desk, user, arrays):
        self.user = User(arrays=arrays, stamp=desk.stamp, size_bytes=sum(a.nbytes for a in arrays.values()))
        self._desk, self._of = desk, user

    def score(self, request):
        self._desk.scored.append(request)
        return self._desk.run(lambda: self._answer(request))

    def _answer(self, request):
        # Read from the kept side, not from a closure: that is what would be mixed up.
        [user] = self.user.arrays["user"]
        value = value_of(user, request.candidates["item"].to_numpy())
        order = np.argsort(-value)
        return Answer(id=request.id, stamp=self.user.stamp, order=order, value=value, predictions={})


class Desk:
    """``run``: at once; or, with ``held``, when `let` says so, first come first; or on ``threads`` of ``executor``."""

    def __init__(self, *, held=False, executor=None, size=8):
        self.stamp, self.size = STAMP, size
        self.held, self.executor = held, executor
        self.waiting, self.begun, self.scored = [], [], []
        self._lock = threading.Lock()

    def begin(self, request):
        self.begun.append(request)
        user = request.context["user"][0].as_py()
        arrays = {"user": np.full(1, user, np.float64), "rest": np.zeros(self.size - 8, np.uint8)}
        return self.run(lambda: FakeSide(self, user, arrays))

    def run(self, work):
        if self.executor is not None:
            return self.executor.submit(work)
        future = Future()
        if self.held:
            self.waiting.append((future, work))
        else:
            future.set_result(work())
        return future

    def let(self, *, error=None):
        """Carry out what waits longest, or fail it."""
        future, work = self.waiting.pop(0)
        if error is not None:
            future.set_exception(error)
        elif future.set_running_or_notify_cancel():
            future.set_result(work())
        return future


def rounds(sessions, users, threads=8, offset=0.0):
    """Threads score users' sessions in any order, with retries; each wrong answer is returned."""
    wrong = []
    kept = {
        user: sessions.open(model="feed", context=context(user), bearer=f"b{user % 5}").result(20).id
        for user in users
    }

    def work(seed):
        random_ = random.Random(seed)
        for number in range(150):
            user = random_.choice(users)
            items = [random_.randrange(1000) for _ in range(random_.randrange(1, 5))]
            request = asking(kept[user], items, id=f"{seed}-{number}")
            answers = [sessions.score(request, bearer=f"b{user % 5}") for _ in range(random_.randrange(1, 3))]
            for each in answers:
                found = each.result(20)
                if not np.array_equal(found.value, value_of(user, items) + offset) or found.id != request.id:
                    wrong.append((user, items, found.value))

    with ThreadPoolExecutor(threads) as workers:
        for each in [workers.submit(work, seed) for seed in range(threads)]:
            each.result(60)
    return wrong
