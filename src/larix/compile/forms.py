"""The halves of a ranker compiled ahead of time, in the three forms that serving runs them in.

Knows nothing of samples, of rows or of what a request is to whoever serves it.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from larix.compile.artifact import BUCKETS, compile, load
from larix.compile.backends import Backend
from larix.compile.graph import Graph
from larix.compile.halves import lifted, split
from larix.compile.precision import Precision
from larix.compile.session import Session

USERS = (1, 2, 4, 8)  # requests of a run of the user's half: of eight it takes about twice as long as of one
_USER, _ALONE, _TOGETHER = "user", "alone", "together"  # folders


@dataclass(frozen=True, slots=True, eq=False)
class Forms:
    """Sessions of one network.

    ``user``: a row for each request; None if there is nothing to compute of a request alone. ``alone``: the candidates of
    one request a run. ``together``: candidates of several requests, everything in a row for each.
    """

    user: Session | None
    alone: Session
    together: Session


def compile_forms(
    hoisted: Graph,
    folder: str | Path,
    *,
    backend: Backend | None = None,
    buckets: Sequence[int] = BUCKETS,
    precision: Precision | None = None,
) -> None:
    """Compile the halves of an optimised graph for this machine into ``folder``, in place of what was there for it.

    ``buckets``: numbers of candidates, of one request or of several; the user's half goes by ``USERS``. ``precision``: as
    chosen for ``hoisted``. ConfigError as with ``compile``.
    """
    halves, precision = split(hoisted), precision or Precision()
    forms = {_ALONE: halves.candidates, _TOGETHER: lifted(halves.candidates)}
    for name, graph in forms.items():
        compile(graph, Path(folder, name), backend=backend, buckets=buckets, precision=precision.of(graph))
    if halves.user.outputs:  # what other machines have of it stays
        own = precision.of(halves.user)
        compile(halves.user, Path(folder, _USER), backend=backend, buckets=USERS, precision=own)
    else:
        shutil.rmtree(Path(folder, _USER), ignore_errors=True)


def load_forms(folder: str | Path, streams: int = 1, *, between: Callable[[], None] = lambda: None) -> Forms:
    """What ``compile_forms`` wrote, each over ``streams`` streams of one thread, warmed. The rest is as with ``load``."""
    alone, together = (load(Path(folder, name), streams, between=between) for name in (_ALONE, _TOGETHER))
    user = load(Path(folder, _USER), streams, between=between) if Path(folder, _USER).is_dir() else None
    return Forms(user, alone, together)
