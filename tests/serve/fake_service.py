"""A Service whose answers are known, over the small model of `asked`: for tests of protocols. Nothing is learned, nothing is late
unless it is told to be.
"""

import secrets
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from asked import SIGNATURE, TASKS

from larix.serve import Answer, Refusal, Stamp, Why
from larix.serve.service import ModelStatus, Opened, State, VersionStatus
from larix.serve.stats import Histogram, ServiceStats, VersionStats


def predicted(item):
    """What the fake model predicts for item ids, by task."""
    ids = np.asarray(item, np.float64)
    return {"is_click": (1 / (2 + ids % 97)).astype(np.float32), "play": (ids % 61).astype(np.float32)}


class FakeFeedback:
    def __init__(self):
        self.rows, self.bearers, self.refusal = [], [], None

    def append(self, actions, *, bearer=""):
        future = Future()
        if self.refusal is not None:
            future.set_exception(self.refusal)
        else:
            self.rows += actions
            self.bearers.append(bearer)
            future.set_result(len(actions))
        return future


class FakeSessions:
    def __init__(self, service):
        self._service, self.open_ones = service, {}

    def open(self, *, model, context, version="", user=0, ttl_s=None, bearer="", id="", deadline=0.0):
        future = Future()
        version = version or self._service.version
        stamp = Stamp(model=model, version=version)
        opened = Opened(id=secrets.token_urlsafe(16), stamp=stamp, ttl_s=ttl_s or 30.0, missing={})
        self.open_ones[opened.id] = (bearer, context)
        future.set_result(opened)
        return future

    def open_and_score(self, request, *, ttl_s=None, bearer=""):
        model, version, context = request.model, request.version, request.context
        opened = self.open(model=model, context=context, version=version, ttl_s=ttl_s, bearer=bearer).result()
        inside = replace(request, session=opened.id, context=None)
        future = Future()
        try:
            future.set_result((opened, self.score(inside, bearer=bearer).result()))
        except Refusal as refusal:
            self.close(opened.id)
            future.set_exception(refusal)
        return future

    def score(self, request, *, bearer=""):
        owner, context = self.open_ones.get(request.session, (None, None))
        if owner != bearer:
            future = Future()
            future.set_exception(Refusal(Why.UNKNOWN, "there is no such session"))
            return future
        assert request.context is None
        assert context is not None
        return self._service.rank(request)

    def columns(self, session, *, bearer=""):
        if self.open_ones.get(session, (None,))[0] != bearer:
            raise Refusal(Why.UNKNOWN, "there is no such session")
        return SIGNATURE

    def close(self, session, *, bearer=""):
        self.open_ones.pop(session, None)


class FakeService:
    """``fails``: an exception, or a function of the request that may give one. ``delay_s``: before each answer.

    ``full``: the refusal that nobody needs to be read for; ``turned_away``: by it.
    """

    def __init__(self):
        self.live = self.ready = True
        self.version, self.fails, self.delay_s = "7", None, 0.0
        self.full, self.turned_away = None, 0
        self.requests, self.models_there = [], ["feed"]
        self.feedback = FakeFeedback()
        self.sessions = FakeSessions(self)
        self._pool = ThreadPoolExecutor(4)
        self._lock = threading.Lock()

    def close(self):
        self._pool.shutdown()

    def rank(self, request):
        with self._lock:
            self.requests.append(request)
        return self._pool.submit(self._answer, request)

    def _answer(self, request):
        if self.delay_s:
            time.sleep(self.delay_s)
        error = self.fails(request) if callable(self.fails) else self.fails
        if error is not None:
            raise error
        model = request.model or self.models_there[0] if request.session else request.model
        self._check(model, request.version)
        items = request.candidates.column(SIGNATURE.item).to_numpy()
        found = predicted(items)
        value = found["is_click"].astype(np.float64)
        order = np.argsort(-value, kind="stable")[: request.count]
        return Answer(
            id=request.id,
            stamp=Stamp(model=model, version=self.version, history="line", rows=30, dense=20, event_ms=99),
            order=order,
            value=value,
            predictions=found,
            explanation=_Why(value) if request.explain else None,
            missing={"tag": 2},
        )

    def check_room(self):
        if self.full is not None:
            self.turned_away += 1
            raise self.full

    @property
    def names(self):
        return [each.name for each in self.models()]

    def models(self):
        versions = (VersionStatus(version=self.version, state=State.READY),)
        broken = VersionStatus(version="8", state=State.UNAVAILABLE, reason="graph.json is damaged")
        return [
            ModelStatus(name=name, versions=(broken, *versions), live=self.version)
            for name in self.models_there
        ]

    def _check(self, model, version):
        if model not in self.models_there:
            raise Refusal(Why.UNKNOWN, f"there is no model '{model}'")
        if version not in ("", self.version):
            raise Refusal(Why.UNKNOWN, f"there is no version '{version}' of model '{model}'")

    def signature(self, model, version=""):
        self._check(model, version)
        return SIGNATURE

    def tasks(self, model, version=""):
        self._check(model, version)
        return TASKS

    def load(self, model):
        if model not in ("feed", "second"):
            raise Refusal(Why.UNKNOWN, f"there is no model '{model}' to load")
        if model not in self.models_there:
            self.models_there.append(model)

    def unload(self, model):
        self._check(model, "")
        self.models_there.remove(model)

    def stats(self, model=None):
        seconds = {
            "whole": Histogram((0.001, 0.01), (3, 4, 0), 0.05),
            "queue": Histogram((0.001,), (7, 0), 0.002),
        }
        return ServiceStats(
            versions=tuple(
                VersionStats(
                    model=name,
                    version=self.version,
                    answered=7,
                    candidates=70,
                    runs=5,
                    last_ms=1,
                    refused={"OVERLOADED": 2},
                    seconds=seconds,
                )
                for name in self.models_there
                if model in (None, name)
            )
        )

    def drain(self, timeout_s):
        self.ready = False
        return True


class _Why:
    def __init__(self, value):
        self._value = value

    def item(self, index):
        return {"value": float(self._value[index]), "shares_sum_to": "value", "tasks": {}}
