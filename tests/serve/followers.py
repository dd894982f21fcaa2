"""A model that follows a trainer's messages, whose answers are all that its state holds: rows and weights as they are."""

import numpy as np
from messages import SPECS, Reader, rows_of

from larix.embedding import Replica, Stand
from larix.errors import StorageError
from larix.serve.engine import Target
from larix.serve.models.following import Following, States
from larix.serve.request import Stamp

IDS = np.arange(50)


class Rows:
    """Tells of a state: rows of both tables and the network's weights, read as one."""

    tasks, buckets = (), (64,)

    def __init__(self, rows, weights, stamps):
        self.rows, self.weights, self._stamps = rows, weights, stamps

    @property
    def stamp(self):
        return self.ask()[0]

    def ask(self):
        with self.rows.reading() as rows:
            found = b"".join(rows.lookup(each.name, IDS).tobytes() for each in SPECS)
            return self._stamps(rows.sequence), found, self.weights


class Source(Reader):
    """Messages, and networks whose weights are the name of their version."""

    lost = False

    def weights(self, version):
        if self.lost:
            raise StorageError(f"version '{version}' is gone")
        return version.encode()


class Remake:
    """Makes scorers; ``fails`` is raised instead, ``gate`` waited for; ``busy``: others have their turn."""

    def __init__(self):
        self.fails = self.gate = None
        self.busy = False
        self.made = []

    def __call__(self, rows, weights, stamps):
        self.made.append(weights)
        if self.gate is not None:
            assert self.gate.wait(20)
        if self.fails is not None:
            raise self.fails
        return None if self.busy else Rows(rows, weights, stamps)


def filled(snapshot):
    rows = Replica(SPECS)
    rows.replace(snapshot)
    return rows


def following_of(trainer, name, *, source=None, remake=None, dense_s=0.0):
    """A model that was loaded from a version of the trainer's."""
    rows = Replica.load(trainer.topic.folder / name)
    at = rows.sequence
    stand = Stand(history=trainer.history, sequence=at, mark=trainer.marks[at])
    states = States(Stamp(model="feed", version="v", history=trainer.history, rows=at, dense=at))
    scorer = Rows(rows, b"bundle", lambda sequence: states.stamp(sequence, at))
    return Following(
        Target(scorer=scorer, pages=None),
        None,
        rows=rows,
        states=states,
        stand=stand,
        source=source or Source(trainer.topic),
        remake=remake or Remake(),
        filled=filled,
        dense_s=dense_s,
    )


def content(trainer):
    """What a state's rows answer: of an id without a row, the default."""
    rows = rows_of(trainer.tables)
    defaults = {each.name: np.zeros(each.dim, np.float32).tobytes() for each in SPECS}
    return b"".join(rows.get((each.name, one), defaults[each.name]) for each in SPECS for one in IDS.tolist())
