"""A model ready to score: features, rows that may change under it, and one network compiled in its three forms.

Knows nothing of bundles, of who brings rows up to date, or of queues.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.batch import Floats
from larix.compile import Forms, Session
from larix.compile.backends.backend import zeros
from larix.embedding import Replica
from larix.errors import ConfigError, DataError
from larix.features import Sample, Task
from larix.serve.lookups import Arrays, Counts, Lookups, Read
from larix.serve.request import Stamp
from larix.serve.scorer import Looked, User
from larix.serve.signature import Signature

_RUNS = 7  # of each bucket, to see what it costs
_SHARING = 4  # requests in a run of several, to see what it costs


class Loaded:
    """One network over ``rows``: a Scorer.

    ``sample`` and ``signature``: what requests are made of. ``forms``: the network; see ``compile.Forms``. ``stamp``: the state
    that is shown when rows are at a sequence number. ``item``: the slot whose vectors tell how alike candidates are, if any.
    What runs of each size cost is measured when it is made; ``between`` is called between these runs. ConfigError if the parts
    are not of one model.
    """

    def __init__(
        self,
        sample: Sample,
        signature: Signature,
        rows: Replica,
        forms: Forms,
        *,
        stamp: Callable[[int], Stamp],
        item: str | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self.sample, self.signature, self.rows, self.item = sample, signature, rows, item
        mine, theirs = signature.halves(sample)
        graph = forms.alone.graph
        own = () if forms.user is None else forms.user.graph.inputs
        self._context = Lookups(mine, (*own, *(each for each in graph.inputs if each.per_request)))
        self._candidates = Lookups(theirs, (each for each in graph.inputs if not each.per_request))
        if item is not None and item not in theirs.id_slots:
            raise ConfigError(f"item '{item}' is no slot of the candidates {sorted(theirs.id_slots)}")
        self._take(forms, stamp)
        self._alone, self._together = map(_by_rows, _measured(forms, between))

    def with_network(self, forms: Forms, stamp: Callable[[int], Stamp], rows: Replica | None = None) -> Self:
        """Another network of the same shape over the same rows, or others, at once: what runs cost is not measured again."""
        fresh = object.__new__(type(self))
        fresh.__dict__.update(self.__dict__)
        fresh.rows = self.rows if rows is None else rows
        fresh._take(forms, stamp)
        return fresh

    def _take(self, forms: Forms, stamp: Callable[[int], Stamp]) -> None:
        self._forms, self._stamp = forms, stamp
        self._kept = tuple(each.name for each in forms.alone.graph.inputs if each.per_request)
        ((self._output, _),) = forms.alone.graph.outputs
        logits = forms.alone.run(_zeros(forms.alone, 1))[self._output]
        if logits.shape != (1, len(self.sample.tasks)):
            raise ConfigError(
                f"the network says {list(logits.shape[1:])} of a candidate, but there are {len(self.sample.tasks)} tasks; "
                "they are not of one model"
            )

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order of logits."""
        return self.sample.tasks

    @property
    def buckets(self) -> tuple[int, ...]:
        """Numbers of candidates that a run takes, rising."""
        return self._forms.alone.buckets

    @property
    def streams(self) -> int:
        """How many runs go on at a time."""
        return self._forms.alone.streams

    @property
    def stamp(self) -> Stamp:
        """The state that it shows now."""
        with self.rows.reading() as rows:
            return self._stamp(rows.sequence)

    def user(self, context: pa.RecordBatch) -> User:
        """See ``Scorer.user``."""
        batch = self._of_context(context)
        with self.rows.reading() as rows:
            found, missing = self._context.find(batch, rows)
            stamp = self._stamp(rows.sequence)
        return self._user(context, batch, found, missing, stamp)

    def look_up(self, user: User, candidates: pa.RecordBatch) -> Looked:
        """See ``Scorer.look_up``."""
        assert user.network is self._forms, "the user's side was computed by another network"
        batch = self._of_candidates(user.shared, candidates)
        with self.rows.reading() as rows:
            found, missing = self._candidates.find(batch, rows)
            stamp = self._stamp(rows.sequence)
        return self._looked(user, batch, found, missing, stamp)

    def request(self, context: pa.RecordBatch, candidates: pa.RecordBatch) -> Looked:
        """``user`` and ``look_up`` of one state of the rows, whatever is changed meanwhile."""
        batches = self._of_context(context), self._of_candidates(self._shared(context), candidates)
        with self.rows.reading() as rows:
            mine, theirs = self._context.find(batches[0], rows), self._candidates.find(batches[1], rows)
            stamp = self._stamp(rows.sequence)
        return self._looked(self._user(context, batches[0], *mine, stamp), batches[1], *theirs, stamp)

    def requests(self, asked: Sequence[tuple[pa.RecordBatch, pa.RecordBatch]]) -> list[Looked]:
        """See ``Joint.requests``: each as by ``request``."""
        if len(asked) < 2:
            return [self.request(*each) for each in asked]
        for context, _ in asked:
            self._one_row(context)
        context, candidates = (_together(each) for each in zip(*asked, strict=True))
        sizes = [len(each) for _, each in asked]
        batch, shared = self._context.read(context), self._shared(context)
        if shared is not None:
            candidates = self.signature.beside(shared, candidates, np.repeat(np.arange(len(asked)), sizes))
        theirs = self._candidates.read(candidates)
        with self.rows.reading() as rows:
            mine, lacking = self._context.find_parts(context, batch, rows, [1] * len(asked))
            found, theirs_lacking = self._candidates.find_parts(candidates, theirs, rows, sizes)
            stamp = self._stamp(rows.sequence)
        users = self._users(batch, mine, lacking, stamp, shared)
        whole = self._looked(users[0], theirs, found, {}, stamp)
        ends = list(accumulate(sizes, initial=0))
        return [
            Looked(
                user=user,
                rows=end - start,
                arrays={name: each[start:end] for name, each in found.items()},
                stamp=stamp,
                vectors=None if whole.vectors is None else whole.vectors[start:end],
                missing=missing,
            )
            for user, missing, (start, end) in zip(users, theirs_lacking, pairwise(ends), strict=True)
        ]

    def score(self, looked: Sequence[Looked]) -> list[Floats]:
        """See ``Scorer.score``. The smallest share runs, as far as that takes less time than a run for each."""
        for each in looked:
            assert each.user.network is self._forms, "candidates were looked up beside another network's user"
        order = sorted((at for at in range(len(looked)) if looked[at].rows), key=lambda at: looked[at].rows)
        sharing, _ = self._plan([looked[at].rows for at in order])
        found = [np.empty((0, len(self.tasks)), np.float32)] * len(looked)
        if sharing:
            form = self._forms.together
            runs = form.run_together([_inputs(form, looked[at]) for at in order[:sharing]])
            for at, outputs in zip(order[:sharing], runs, strict=True):
                found[at] = outputs[self._output]
        for at in order[sharing:]:
            found[at] = self._forms.alone.run(_inputs(self._forms.alone, looked[at]))[self._output]
        return found

    def seconds(self, rows: Sequence[int]) -> float:
        """See ``Scorer.seconds``: on one stream."""
        return _cost(self._alone, rows[0]) if len(rows) == 1 else self._plan(sorted(filter(None, rows)))[1]

    def _plan(self, rows: Sequence[int]) -> tuple[int, float]:
        """How many of the smallest share runs, and what it takes; ``rows`` rise."""
        alone = list(accumulate((_cost(self._alone, each) for each in rows), initial=0.0))
        best = 0, alone[-1]
        for sharing, total in enumerate(accumulate(rows), 1):
            taken = _cost(self._together, total) + alone[-1] - alone[sharing]
            if sharing > 1 and taken < best[1]:
                best = sharing, taken
        return best

    @staticmethod
    def _one_row(context: pa.RecordBatch) -> None:
        if len(context) != 1:
            raise DataError(f"the context has {len(context)} rows; it is one")

    def _of_context(self, context: pa.RecordBatch) -> Read:
        self._one_row(context)
        return self._context.read(context)

    def _of_candidates(self, shared: pa.RecordBatch | None, candidates: pa.RecordBatch) -> Read:
        records = candidates if shared is None else self.signature.beside(shared, candidates)
        return self._candidates.read(records)

    def _shared(self, context: pa.RecordBatch) -> pa.RecordBatch | None:
        return context.select(list(self.signature.shared)) if self.signature.shared else None

    def _user(
        self, context: pa.RecordBatch, batch: Read, found: Arrays, missing: Counts, stamp: Stamp
    ) -> User:
        return self._users(batch, found, [missing], stamp, self._shared(context))[0]

    def _users(
        self,
        batch: Read,
        found: Arrays,
        missing: Sequence[Counts],
        stamp: Stamp,
        shared: pa.RecordBatch | None,
    ) -> list[User]:
        """A user for each row of ``batch``, which is as long as ``missing``."""
        form = self._forms.user
        if form is not None:
            found |= form.run({each.name: found[each.name] for each in form.graph.inputs})
        users = []
        for row, lacking in enumerate(missing):
            arrays = {name: found[name] for name in self._kept}
            own = shared
            if len(missing) > 1:
                arrays = {name: each[row : row + 1] for name, each in arrays.items()}
                own = None if shared is None else shared.slice(row, 1)
            users.append(
                User(
                    arrays=arrays,
                    stamp=stamp,
                    scene=None if batch.scene is None else int(batch.scene[row]),
                    size_bytes=sum([each.nbytes for each in arrays.values()])
                    + (0 if own is None else own.nbytes),
                    missing=lacking,
                    shared=own,
                    network=self._forms,
                )
            )
        return users

    def _looked(
        self,
        user: User,
        batch: Read,
        found: Arrays,
        missing: Mapping[str, int],
        stamp: Stamp,
    ) -> Looked:
        vectors = None if self.item is None else self._candidates.vectors(self.item, found)
        return Looked(user=user, rows=batch.size, arrays=found, stamp=stamp, vectors=vectors, missing=missing)


def _together(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    schema = batches[0].schema
    if not all(each.schema.equals(schema) for each in batches):
        raise DataError("requests of columns of other types, or in another order, go one by one")
    return pa.concat_batches(batches)


def _inputs(form: Session, looked: Looked) -> dict[str, NDArray[Any]]:
    mine, theirs = looked.user.arrays, looked.arrays
    return {
        each.name: mine[each.name] if each.name in mine else theirs[each.name] for each in form.graph.inputs
    }


def _zeros(form: Session, rows: int) -> dict[str, NDArray[Any]]:
    return {each.name: zeros(each, rows) for each in form.graph.inputs}


def _several(forms: Forms, rows: int) -> list[dict[str, NDArray[Any]]]:
    requests = min(_SHARING, rows)
    return [_zeros(forms.alone, rows // requests + (at < rows % requests)) for at in range(requests)]


def _measured(
    forms: Forms, between: Callable[[], None] = lambda: None
) -> tuple[dict[int, float], dict[int, float]]:
    """Seconds of a run by its bucket, alone and together, when nothing disturbs it: the least of several.

    All are run in turn, so that a noisy moment hits them alike, each twice, of which the second counts: what the caches have to
    be filled with again is paid once, whether requests share a run or go one after the other. A larger bucket never takes
    less: what says so is noise.
    """
    ways: tuple[dict[int, Callable[[], object]], dict[int, Callable[[], object]]] = (
        {rows: partial(forms.alone.run, _zeros(forms.alone, rows)) for rows in forms.alone.buckets},
        {
            rows: partial(forms.together.run_together, _several(forms, rows))
            for rows in forms.together.buckets
        },
    )
    found: tuple[dict[int, float], dict[int, float]] = ({}, {})
    for _ in range(_RUNS):
        for seconds, calls in zip(found, ways, strict=True):
            for rows, call in calls.items():
                call()
                start = time.perf_counter()
                call()
                seconds[rows] = min(seconds.get(rows, math.inf), time.perf_counter() - start)
                between()
    for seconds in found:
        seconds.update(zip(seconds, accumulate(seconds.values(), max), strict=True))
    return found


def _by_rows(seconds: Mapping[int, float]) -> list[float]:
    """What a run of 0, 1, ... rows takes, to the largest bucket's; ``seconds``: by bucket, rising."""
    found = [0.0]
    for bucket, taken in seconds.items():
        found += [taken] * (bucket + 1 - len(found))
    return found


def _cost(seconds: Sequence[float], rows: int) -> float:
    """Of as many runs as hold ``rows`` between them; ``seconds``: see ``_by_rows``."""
    whole, rest = divmod(rows, len(seconds) - 1)
    return whole * seconds[-1] + seconds[rest]
