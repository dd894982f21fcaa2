"""Another version scores again what was answered, off the answer's path: how far apart the two are, task by task.

Knows nothing of how requests come or of who decides what the difference means.
"""

import queue
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from larix.embedding.polling import Polling
from larix.errors import ConfigError
from larix.serve.engine.page import predictions
from larix.serve.models.difference import Difference, Differences
from larix.serve.request import Answer, Request
from larix.serve.scorer import Scorer

_EVERY_S = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowReport:
    """How ``version`` differs from what was answered, in predictions: probabilities, or seconds.

    ``requests`` and ``candidates`` were scored again, ``dropped`` were not for lack of time, ``failed`` could not be:
    ``trouble`` says why the last of them could not.
    """

    version: str
    requests: int
    candidates: int
    dropped: int
    failed: int
    trouble: str
    tasks: Mapping[str, Difference]

    @property
    def gauges(self) -> Mapping[str, float]:
        """The same as numbers by name; what ends in ``_total`` only grows."""
        counts = ("requests", "candidates", "dropped", "failed")
        found = {f"shadow_{name}_total": float(getattr(self, name)) for name in counts}
        for task, difference in self.tasks.items():
            told = {
                "mean": difference.mean,
                "absolute": difference.absolute,
                "most": difference.most,
                "rank_correlation": difference.rank_correlation,
                **{f"q{100 * level:g}": size for level, size in difference.quantiles.items()},
            }
            found |= {f"shadow_{task}_{name}": value for name, value in told.items()}
        return found


class Shadow:
    """Scores ``share`` of requests, from 0 to 1, by ``version`` too: by hand with `poll`, or on a thread from `start` to `stop`.

    ``scorer``: gives the version's newest state. At most ``held`` requests wait; more are dropped, so that nothing is
    owed to memory or to those who answer. Which requests are taken is a function of their ids.
    """

    def __init__(self, version: str, scorer: Callable[[], Scorer], *, share: float, held: int = 64) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"the shadow's share is {share}; it is a share of requests, from 0 to 1")
        self.version = version
        self.share = share
        self._scorer = scorer
        self._below = round(share * (1 << 32))
        self._waiting: queue.Queue[tuple[Request, Answer]] = queue.Queue(held)
        self._writing = threading.Lock()
        self._differences: dict[str, Differences] = {}
        self._requests = self._candidates = self._dropped = self._failed = 0
        self._trouble = ""
        self._polling = Polling(self.poll, f"shadow {version}")

    def offer(self, request: Request, answer: Answer) -> None:
        """Have an answered request scored again, perhaps; takes microseconds and never raises."""
        if request.context is None or zlib.crc32(request.id.encode()) >= self._below:
            return  # a session that was opened before there was a shadow has not kept its context
        try:
            self._waiting.put_nowait((request, answer))
        except queue.Full:
            self._dropped += 1

    def poll(self) -> bool:
        """Score what waits; return whether anything did."""
        some = False
        while not self._waiting.empty():
            request, answer = self._waiting.get()
            some = True
            try:
                found = predictions_of(self._scorer(), request)
            except Exception as error:  # whatever a version on trial does, those that answer go on
                with self._writing:
                    self._failed += 1
                    self._trouble = f"request {request.id}: {type(error).__name__}: {error}"
                continue
            self._note(answer, found)
        return some

    def start(self) -> None:
        """Score on a thread of its own."""
        self._polling.start(_EVERY_S)

    def stop(self) -> None:
        """End the thread, if there is one."""
        self._polling.stop()

    def report(self) -> ShadowReport:
        """What has been found so far."""
        with self._writing:
            return ShadowReport(
                version=self.version,
                requests=self._requests,
                candidates=self._candidates,
                dropped=self._dropped,
                failed=self._failed,
                trouble=self._trouble,
                tasks={name: each.sum_up() for name, each in self._differences.items()},
            )

    def _note(self, answer: Answer, found: Mapping[str, NDArray[np.float32]]) -> None:
        with self._writing:
            self._requests += 1
            self._candidates += len(answer.value)
            for name in [name for name in answer.predictions if name in found]:
                differences = self._differences.setdefault(name, Differences())
                differences.add(answer.predictions[name], found[name])


def predictions_of(scorer: Scorer, request: Request) -> dict[str, NDArray[np.float32]]:
    """What ``scorer`` predicts for a request's candidates, by task."""
    assert request.context is not None
    looked = scorer.look_up(scorer.user(request.context), request.candidates)
    (logits,) = scorer.score([looked])
    return predictions(scorer.tasks, logits)
