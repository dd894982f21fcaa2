"""How a piece of work is carried out, and what is said when it fails. Knows nothing of queues, of locks or of what comes next."""

import logging
import time
from typing import cast

import numpy as np

from larix.batch import Floats
from larix.errors import DataError, LarixError
from larix.serve.engine.job import Job, Piece, Stage, Target, Work
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Answer
from larix.serve.scorer import Joint, Looked, User

logger = logging.getLogger("larix.serve.engine")
_TRIES = 4  # rows would have to change within each of so many look-ups


def carry_out(work: Work) -> None:
    """Set ``work.result``, or ``work.error`` to what is told to those who asked. Raises what ends a thread, as it came."""
    try:
        if work.stage == "dense":
            work.result = _dense(work.pieces)
        elif work.stage == "page":
            work.result = [_page(job) for job in work.jobs]
        else:
            work.result = _sparse(work.jobs)
            if work.through:
                _go_on(work)
        if work.through:
            _finish(work)
    except Exception as error:
        work.error = told(error, work.now, work.target)


def _go_on(work: Work) -> None:
    """From rows that were looked up to logits."""
    (job,), (looked,) = work.jobs, work.result
    job.ready = time.monotonic()
    if work.given_up or not isinstance(looked, Looked) or job.hopeless(job.ready, job.expected["dense"]):
        return
    work.now, job.looked, job.dense = "dense", looked, job.ready
    job.parts, job.waiting = [None], 1
    work.pieces = [Piece(job, looked, 0, job.ready, job.expected["dense"])]
    work.result = _dense(work.pieces)


def _finish(work: Work) -> None:
    """From logits to the page."""
    if not work.pieces or not isinstance(work.result[0], np.ndarray):
        return
    job = work.pieces[0].job
    job.scored = time.monotonic()
    if not (work.given_up or job.hopeless(job.scored)):
        work.now, job.parts[0] = "page", work.result[0]
        work.answers = [_page(job)]


def told(error: BaseException, stage: Stage, target: Target) -> LarixError:
    """What those who asked are told of ``error``.

    As it is, if they can act on it: only the sparse stage reads what they gave. Of what is the server's own fault the kind, and
    the log has the rest.
    """
    if isinstance(error, Refusal) or (isinstance(error, DataError) and stage == "sparse"):
        return error.with_traceback(None)  # which has the jobs, and they will have it
    stamp = target.scorer.stamp
    name = f"model '{stamp.model}' version '{stamp.version}'"
    logger.error("%s failed in the %s stage", name, stage, exc_info=error)
    return Refusal(Why.BROKEN, f"{name} failed in the {stage} stage: {type(error).__name__}")


def _sparse(jobs: list[Job]) -> list[User | Looked | LarixError]:
    """By job. If one of several fails, each goes alone, so that no request suffers for its neighbours."""
    target = jobs[0].target
    try:
        if len(jobs) == 1:
            return [_one(jobs[0])]
        asked = [(job.context, job.request.candidates) for job in jobs if job.request is not None]
        return list(_fitting(jobs, cast(Joint, target.scorer).requests(asked)))
    except Exception as error:
        if len(jobs) == 1:
            return [told(error, "sparse", target)]
    return [result for job in jobs for result in _sparse([job])]


def _fitting(jobs: list[Job], found: list[Looked]) -> list[Looked]:
    if [each.rows for each in found] != [job.rows for job in jobs]:
        raise AssertionError(
            f"looked up {[each.rows for each in found]} rows of {[job.rows for job in jobs]}"
        )
    return found


def _one(job: Job) -> User | Looked:
    target, request = job.target, job.request
    if request is None:
        return target.scorer.user(job.context)
    if target.user is not None:
        return target.scorer.look_up(target.user, request.candidates)
    if target.joint:
        return cast(Joint, target.scorer).requests([(job.context, request.candidates)])[0]
    for _ in range(_TRIES):
        user: User = target.scorer.user(job.context)
        looked = target.scorer.look_up(user, request.candidates)
        if looked.stamp is user.stamp or looked.stamp == user.stamp:
            return looked
    raise Refusal(
        Why.UNAVAILABLE, "the model's rows change faster than a request is looked up", retry_after_s=1.0
    )


def _dense(pieces: list[Piece]) -> list[Floats | LarixError]:
    """Logits by piece. If a run of several fails, each goes alone, so that no request suffers for its neighbours."""
    scorer = pieces[0].job.target.scorer
    try:
        return list(_scored(pieces, scorer.score([piece.looked for piece in pieces])))
    except Exception as error:
        if len(pieces) == 1:
            return [told(error, "dense", pieces[0].job.target)]
    return [result for piece in pieces for result in _dense([piece])]


def _scored(pieces: list[Piece], logits: list[Floats]) -> list[Floats]:
    wanted = [(piece.looked.rows, len(piece.job.target.scorer.tasks)) for piece in pieces]
    found = [each.shape for each in logits]
    if found != wanted:
        raise AssertionError(f"a run gave logits of {found}; expected {wanted}")
    return logits


def _page(job: Job) -> Answer:
    began = time.monotonic()
    request, looked, parts = job.request, job.looked, [part for part in job.parts if part is not None]
    assert request is not None
    assert looked is not None
    seconds = {
        "queue": job.began - job.arrived,
        "sparse": job.ready - job.began,
        "wait": job.dense - job.ready,
        "dense": job.scored - job.dense,
    }
    logits = parts[0] if len(parts) == 1 else np.concatenate(parts)
    answer = job.target.pages.answer(request, looked, logits, seconds)
    now = time.monotonic()
    seconds["page"], seconds["whole"] = now - began, now - job.arrived
    return answer
