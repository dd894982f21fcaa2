"""Whether serving says what training said: features bit for bit, logits within a bound, on samples that were logged.

Knows what is compared; knows nothing of how either side computes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.batch import Batch, Floats, History, Jagged
from larix.errors import LarixError
from larix.features import Sample
from larix.serve.scorer import Joint, Scorer
from larix.serve.signature import Signature
from larix.serve.warm import Warm, crossed

BOUND = 1e-4  # of a logit, where everything is computed in fp32
_TOGETHER = 16  # requests of one call
_WAYS = (1, 2, 3, _TOGETHER)  # alone, and in runs of the user's half that are full and that are not


class ParityError(LarixError):
    """Serving says something else than training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """``error``: the largest difference of a logit, of ``requests`` of ``candidates`` each, alone and several together."""

    requests: int
    candidates: int
    error: float

    def to_json(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self)


def check_features(sample: Sample, signature: Signature, warm: Warm) -> None:
    """Transform the samples as training does, and their requests as serving does, through JSON and by halves.

    ParityError names the first slot and sample that are not equal bit for bit.
    """
    logged = crossed(warm.records, signature, warm.candidates)
    first, second = signature.halves(sample)
    for number, (context, candidates) in enumerate(_records(signature, warm)):
        whole = sample.transform(logged.slice(number * warm.candidates, warm.candidates), labels=False)
        ours = first.transform(context, labels=False)
        theirs = second.transform(signature.beside(context, candidates), labels=False)
        wrong = [
            *_unequal(ours, first, whole, sample, warm.candidates),
            *_unequal(theirs, second, whole, sample, 1),
        ]
        if wrong:
            raise ParityError(
                f"'{wrong[0]}' of logged sample {number} is not the same in training and in serving: "
                "a column that it reads comes out otherwise through a request; see the signature's types"
            )


def logits_of(
    scorer: Scorer,
    signature: Signature,
    warm: Warm,
    together: int = _TOGETHER,
    *,
    between: Callable[[], None] = lambda: None,
) -> Floats:
    """What ``scorer`` says of the requests, ``[n, k, tasks]``, so many of them in a call; ``between`` is called after each."""
    found: list[Floats] = []
    records = _records(signature, warm)
    while asked := list(islice(records, together)):
        if isinstance(scorer, Joint) and together > 1:
            found += scorer.score(scorer.requests(asked))
        else:
            found += scorer.score([scorer.look_up(scorer.user(mine), theirs) for mine, theirs in asked])
        between()
    return np.stack(found)


def check_logits(scorer: Scorer, signature: Signature, warm: Warm, bound: float) -> Parity:
    """Score each request alone, then several together, in every stage. ParityError if a logit is off by more than ``bound``."""
    error = 0.0
    for together in _WAYS:
        ours = logits_of(scorer, signature, warm, together)
        off = np.abs(ours.astype(np.float64) - warm.logits)
        worst = float(np.max(off, initial=0.0))  # NaN if there is one
        if not worst <= bound:
            place = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), off.shape)
            raise ParityError(
                f"a logit (request, candidate and task {', '.join(map(str, place))}) is {ours[place]:.6g} in serving but "
                f"{warm.logits[place]:.6g} by the trained network; they may differ by {bound:.2g}"
            )
        error = max(error, worst)
    return Parity(requests=len(warm.logits), candidates=warm.candidates, error=error)


def _records(signature: Signature, warm: Warm) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    for context, candidates in warm.requests(signature):
        yield signature.context_of(context, 0)[0], signature.candidates_of(candidates)[0]


def _unequal(half: Batch, declared: Sample, whole: Batch, sample: Sample, times: int) -> Iterator[str]:
    """Names of what differs, all of ``half`` standing ``times`` over for ``whole``."""
    for name, jagged in half.ids.items():
        if not _same(_parts(jagged, half.size), _parts(whole.ids[name], whole.size), times):
            yield name
    for at, name in enumerate(declared.dense):
        theirs = whole.dense[:, sample.dense.index(name)]
        if not _same({"dense": half.dense[:, at]}, {"dense": theirs}, times):
            yield name
    for name, history in half.sequences.items():
        if not _same(_events(history), _events(whole.sequences[name]), times):
            yield name
    if (
        half.scene is not None
        and whole.scene is not None
        and not _same({"": half.scene}, {"": whole.scene}, times)
    ):
        yield str(sample.scene)


def _same(ours: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]], times: int) -> bool:
    """Whether arrays, the one's ``times`` over, are equal bit for bit."""
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype
        and np.concatenate([ours[key]] * times).tobytes() == theirs[key].tobytes()
        for key in ours
    )


def _parts(jagged: Jagged, size: int) -> dict[str, NDArray[Any]]:
    lengths = np.ones(size, np.int64) if jagged.offsets is None else np.diff(jagged.offsets)
    weights = {} if jagged.weights is None else {"weights": jagged.weights}
    return {"lengths": lengths, "values": np.asarray(jagged.values), **weights}


def _events(history: History) -> dict[str, NDArray[Any]]:
    return {"lengths": np.diff(history.offsets), "dense": np.ascontiguousarray(history.dense), **history.ids}
