"""A trainer's tables and the messages that it would send, in a list instead of a log: what followers are tested on."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from larix.embedding import Message, Replica, Tables, TableSpec, storage, wire
from larix.errors import StorageError

SPECS = [TableSpec(name="a", dim=4), TableSpec(name="b", dim=2, precision="bf16")]


class Trainer:
    """Steps tables by random gradients; a state's mark is a function of the seed and of how it was come by."""

    def __init__(self, topic, history="h", seed=0, tables=None, mark=0):
        self.topic, self.history, self.seed = topic, history, seed
        self.tables = Tables(SPECS, seed=1, threads=1) if tables is None else tables
        self.tables.cut()
        self.marks = {self.tables.sequence - 1: mark}
        self.reached = self.tables.sequence - 1
        self.groups = 0
        self.saving = None

    @property
    def sequence(self):
        return self.tables.sequence - 1

    def step(self, times=1):
        for _ in range(times):
            rng = np.random.default_rng([self.seed, self.sequence])
            for spec in SPECS:
                ids = rng.integers(0, 50, 9)
                self.tables.lookup(spec.name, ids, insert=True)
                self.tables.update(spec.name, ids, rng.standard_normal((9, spec.dim)).astype(np.float32))
            self.tables.remove("a", rng.integers(0, 50, 1))
            before = self.marks[self.sequence]
            self.marks[self.tables.cut()] = hash((before, self.seed, self.sequence)) % 2**64

    def publish(self, parts=1):
        changes = self.tables.changes(self.reached)
        raw = wire.to_bytes(changes)
        self.groups += 1
        cuts = np.linspace(0, len(raw), parts + 1).astype(int)
        marks = np.array([self.marks[at] for at in range(self.reached, changes.last + 1)], np.uint64)
        for part, (begin, end) in enumerate(pairwise(cuts)):
            self.topic.add(
                Message(
                    kind="rows",
                    history=self.history,
                    first=changes.first,
                    last=changes.last,
                    marks=marks,
                    group=f"{id(self)}-{self.groups}",
                    part=part,
                    parts=parts,
                    payload=raw[begin:end],
                    event_ms=changes.last * 1000,
                )
            )
        self.reached = changes.last

    def save(self, kind="snapshot"):
        self.tell(kind, self.begin_save())
        return self.saving[0]

    def begin_save(self):
        """A version of now, that is told of later: saving takes a while."""
        name = f"{self.history}-{id(self)}-{self.sequence}"
        self.tables.save(self.topic.folder / name)
        self.saving = name, self.sequence, len(self.topic.messages)
        return name

    def tell(self, kind, name):
        _, last, after = self.saving if self.saving and self.saving[0] == name else ("", self.sequence, -1)
        marks = np.array([self.marks[last]], np.uint64)
        self.topic.add(
            Message(kind=kind, history=self.history, last=last, marks=marks, version=name, after=after)
        )

    def dense(self, payload=b"w"):
        marks = np.array([self.marks[self.sequence]], np.uint64)
        self.groups += 1
        self.topic.add(
            Message(
                kind="dense",
                history=self.history,
                last=self.sequence,
                marks=marks,
                payload=payload,
                group=f"{id(self)}-{self.groups}",
            )
        )

    def again(self, name, **given):
        """Another trainer that goes on from a version that this one has saved."""
        tables = Tables.load(self.topic.folder / name, threads=1)
        at = tables.sequence - 1
        return Trainer(
            self.topic,
            **{"history": self.history, "seed": self.seed, "mark": self.marks[at], **given},
            tables=tables,
        )


class Topic:
    """Messages in a list; ``lose`` takes some away."""

    def __init__(self, folder):
        self.folder = folder
        self.messages = []
        self.gone = set()

    def add(self, message):
        self.messages.append(replace(message, offset=len(self.messages)))

    def lose(self, begin, end):
        self.gone |= set(range(begin, end))


class Reader:
    """What a DeltaFollower follows."""

    def __init__(self, topic):
        self.topic = topic
        self.at = None
        self.most = 1 << 30

    def poll(self, timeout_s):
        found = []
        while self.at is not None and self.at < len(self.topic.messages) and len(found) < self.most:
            if self.at in self.topic.gone:
                if found:
                    break
                while self.at in self.topic.gone:
                    self.at += 1
                raise StorageError(f"segment 7 is damaged before message {self.at}")
            found.append(self.topic.messages[self.at])
            self.at += 1
        return found

    def newest(self):
        there = [
            (at, message)
            for at, message in enumerate(self.topic.messages)
            if message.kind in ("snapshot", "fence") and at not in self.topic.gone
        ]
        if not there:
            return None
        return there[-1][1]

    def seek(self, message):
        self.at = message.offset + 1 if message.after < 0 else message.after

    def snapshot(self, version):
        return storage.read(self.topic.folder / version)


class Beside:
    """The dense side."""

    def __init__(self):
        self.told = []

    def begin(self, version):
        self.told.append(version)

    def dense(self, payload):
        self.told.append(payload)


def held(replica: Replica):
    return {
        (name, one): row.tobytes()
        for name in replica.specs
        for one, row in zip(
            replica.keys(name).tolist(), replica.lookup(name, replica.keys(name)), strict=True
        )
    }


def rows_of(tables):
    return {
        (name, one): row.tobytes()
        for name in tables.specs
        for one, row in zip(tables.keys(name).tolist(), tables.read(name, tables.keys(name))[0], strict=True)
    }
