"""Versions that answer by a known rule, in place of bundles: what the tests of models are served by."""

import json
import math
import threading
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from larix import features as fx
from larix.errors import DataError, StorageError
from larix.feed import ValueModel, WeightedSum
from larix.serve.engine import Pages, Target
from larix.serve.request import Request, Stamp
from larix.serve.scorer import Looked, User

TASKS = (fx.Binary("is_click"), fx.Seconds("play_ms"))


def request(user=1, id="r1", rows=4, **more):
    given = {
        "context": pa.record_batch({"user_id": pa.array([user], pa.int64())}),
        "candidates": pa.record_batch({"item": pa.array(range(rows), pa.int64())}),
    }
    return Request(id=id, user=user, **given | more)


def answer_of(target, asked):
    """What an engine makes of a target, without one."""
    looked = target.scorer.look_up(target.scorer.user(asked.context), asked.candidates)
    (logits,) = target.scorer.score([looked])
    return target.pages.answer(asked, looked, logits, {})


class Linear:
    """A Scorer: a candidate's logit is ``slope`` times its item, plus its user; seconds' is the item."""

    tasks = TASKS
    buckets = (8, 64)

    def __init__(self, stamp, slope=0.1):
        self.stamp = stamp
        self.slope = slope

    def user(self, context):
        if "user_id" not in context.schema.names:
            raise DataError("column 'user_id' is missing")
        return User(arrays=MappingProxyType({"u": np.asarray(context["user_id"])}), stamp=self.stamp)

    def look_up(self, user, candidates):
        items = np.asarray(candidates["item"])
        return Looked(user=user, rows=len(items), arrays={"item": items}, stamp=self.stamp)

    def score(self, looked):
        return [
            np.stack(
                [self.slope * each.arrays["item"] + each.user.arrays["u"], each.arrays["item"]], 1
            ).astype(np.float32)
            for each in looked
        ]

    def seconds(self, rows):
        return 1e-4 if sum(rows) <= 64 else math.inf


class Version:
    """An Edition that counts its starts and stops."""

    columns = None
    trouble = ""

    def __init__(self, model="feed", version="1", slope=0.1):
        self.target = Target(
            scorer=Linear(Stamp(model=model, version=version), slope),
            pages=Pages(tasks=TASKS, value=ValueModel(fusion=WeightedSum(weights={"is_click": 1.0}))),
        )
        self.gauges = {"starts": 0.0, "stops": 0.0}

    @property
    def running(self):
        return self.gauges["starts"] > self.gauges["stops"]

    def mind(self):
        self.gauges["minded"] = self.gauges.get("minded", 0.0) + 1

    def start(self):
        self.gauges["starts"] += not self.running

    def stop(self):
        self.gauges["stops"] += self.running


class Bundles:
    """A Loader of folders that `write` makes. ``gate``: if set, loading waits for it. ``loaded``: what was, in order.

    ``columns``: of what is loaded.
    """

    columns = None

    def __init__(self):
        self.loaded = []
        self.gate = None
        self.begun = threading.Event()

    def __call__(self, path, *, model, version, beside):
        self.begun.set()
        if self.gate is not None:
            assert self.gate.wait(20)
        said = (path / "manifest.json").read_bytes()
        try:
            slope = json.loads(said)["slope"]
        except ValueError as error:
            raise StorageError(f"'{path / 'manifest.json'}' is damaged: {error}") from error
        self.loaded.append(version)
        made = Version(model, version, slope)
        made.columns = self.columns
        return made


def write(path, slope=0.1):
    """Write a bundle as bundles are: beside its place, then renamed."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.mkdir(parents=True)
    (fresh / "manifest.json").write_text(json.dumps({"slope": slope}))
    if path.exists():
        path.rename(path.with_name(f".{path.name}.old-{len(list(path.parent.iterdir()))}"))
    fresh.rename(path)
    return path
