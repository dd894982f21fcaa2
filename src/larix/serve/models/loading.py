"""Bundles brought into memory as editions: checked, warm, and following a run's messages if there are any.

Knows bundles and how a network is made anew; knows nothing of where messages come from.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from larix.compile import load_forms
from larix.compile.afresh import compile_apart, with_weights
from larix.compile.artifact import BACKENDS, find
from larix.compile.graph import Graph
from larix.embedding import Levels, Piece, Replica, Snapshot, Stand, TableSpec
from larix.embedding.image import Images
from larix.embedding.quantize import Format
from larix.errors import ConfigError, StorageError
from larix.feed import LiveValueModel
from larix.serve import rows as stored
from larix.serve.bundle import COMPILED, TABLES, Bundle
from larix.serve.engine import Pages, Target
from larix.serve.loaded import Loaded
from larix.serve.models.edition import Edition, Still
from larix.serve.models.following import Following, Source, States
from larix.serve.models.pauses import pauses
from larix.serve.models.turn import Turn
from larix.serve.parity import logits_of
from larix.serve.request import Stamp
from larix.serve.scorer import Scorer
from larix.serve.warm import Warm

_LOG = logging.getLogger(__name__)
_WARM = (
    8  # logged samples that are scored before a version answers: more would take Python from those who answer
)
_KEPT = 4  # networks that several processes share


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """A Loader of bundles.

    ``streams``: of one thread each, as many as should score at a time. ``levels``: by model, which rows are held whole in memory
    if not all. ``follow``: by model, what makes a reader of its run's
    messages; models without one stay as they are exported. ``values``: by model, the file of a value model to take in place of
    the bundle's, and to look at again. ``dense_s``: a network is made anew at most so often. ``catch_up_s``: how long a
    version may take to come up to its run before it answers all the same. ``scratch``: where networks are compiled, the system's
    folder for such things unless told. ``turn``: with other processes that serve the same: a network that is made anew is
    compiled by the first whose turn it is, in ``scratch``, and read from there by the others, and rows without levels are loaded
    by the first, and held once. ``cores``: it is compiled on, those
    of the thread that serves if None.
    """

    streams: int = 1
    follow: Mapping[str, Callable[[], Source]] = field(default_factory=dict)
    levels: Mapping[str, Levels] = field(default_factory=dict)
    values: Mapping[str, Path] = field(default_factory=dict)
    dense_s: float = 30.0
    catch_up_s: float = 60.0
    scratch: Path | None = None
    turn: Turn | None = None
    cores: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("dense_s", "catch_up_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(
                    f"Loading.{name} is {getattr(self, name)}; it is a number of seconds, 0 or more"
                )
        if self.turn is not None and self.scratch is None:
            raise ConfigError("Loading.turn is of processes that share Loading.scratch, which is not told")

    def __call__(self, path: Path, *, model: str, version: str, beside: bool = False) -> Edition:
        """See ``Loader``."""
        # On a thread of usual priority: one of a lower that is preempted while it holds Python's lock holds up all who
        # answer, and what pools it starts keep its priority for good. Measured: a p99 of 10 ms became hundreds.
        between = pauses() if beside else _none
        bundle = Bundle.open(path, between=between)
        tables = bundle.folder / TABLES
        snapshot, precision = stored.read(tables)
        filled = _Filled(list(snapshot.specs.values()), precision, self.levels.get(model), self._images)
        filled.between = between
        rows = filled(snapshot, key=stored.key(tables))
        between()
        begun = replace(bundle.stamp_at(rows.sequence), model=model, version=version)
        states = States(begun)
        make = _Scorer(bundle, self.streams, between)
        scorer = make(bundle.folder / COMPILED, rows, lambda sequence: states.stamp(sequence, begun.dense))
        names = [task.name for task in scorer.tasks]
        value = LiveValueModel(self.values[model], names) if model in self.values else bundle.value
        target = Target(
            scorer=scorer, pages=Pages(tasks=scorer.tasks, value=value, diversity=bundle.diversity)
        )
        if model not in self.follow:
            return Still(target, bundle.signature, rows)
        following = Following(
            target,
            bundle.signature,
            rows=rows,
            states=states,
            stand=Stand(history=begun.history, sequence=begun.rows, mark=bundle.manifest["training"]["mark"]),
            source=self.follow[model](),
            remake=_Remake(bundle, make, self),
            filled=filled,
            dense_s=self.dense_s,
        )
        following.catch_up(self.catch_up_s, between)
        filled.between = pauses()  # it answers, when the next snapshot comes
        return following

    @property
    def _images(self) -> Images | None:
        return None if self.turn is None or self.scratch is None else Images(self.scratch)


def _none() -> None:
    """No pause: nobody answers meanwhile."""


def _paced(snapshot: Snapshot, between: Callable[[], None]) -> Snapshot:
    """The same, ``between`` being called after each piece."""

    def pieces() -> Iterator[Piece]:
        for piece in snapshot:
            yield piece
            between()

    return Snapshot(snapshot.specs, snapshot.seed, snapshot.instant, pieces(), snapshot.close, snapshot.held)


class _Filled:
    """Replicas that show a snapshot; those of one server's processes hold the same rows once, if they are on one level."""

    def __init__(
        self, specs: Sequence[TableSpec], precision: Format, levels: Levels | None, images: Images | None
    ) -> None:
        self._specs, self._precision, self._levels = specs, precision, levels
        self._images = images if levels is None else None
        self.between: Callable[[], None] = _none

    def __call__(self, snapshot: Snapshot, key: str = "") -> Replica:
        """``key``: what the rows are, if there are others of the snapshot's instant."""
        rows = Replica(self._specs, precision=self._precision, levels=self._levels)
        if self._images is None:
            rows.replace(_paced(snapshot, self.between))
            return rows
        shown = [key, self._precision, snapshot.instant.to_json(), [spec.to_json() for spec in self._specs]]
        if trouble := self._images.fill(
            rows, _paced(snapshot, self.between), json.dumps(shown, sort_keys=True), self.between
        ):
            _LOG.warning("rows are not shared with other processes as they might be: %s", trouble)
        return rows


class _Remake:
    """A bundle's network with other weights; see ``Remake``. It goes on if the bundle's folder is gone."""

    def __init__(self, bundle: Bundle, scorer: "_Scorer", loading: Loading) -> None:
        self._scorer, self._cores = scorer, loading.cores
        self._scratch, self._turn = loading.scratch, loading.turn
        self._captured, self._precision = bundle.graph, bundle.precision
        self._buckets = bundle.manifest["buckets"]
        self._backend = find(bundle.folder / COMPILED / "alone").manifest["backend"]
        self._of = hashlib.sha256(json.dumps(bundle.manifest, sort_keys=True).encode())

    def __call__(self, rows: Replica, weights: bytes, stamps: Callable[[int], Stamp]) -> Scorer | None:
        if self._turn is not None:  # networks never cease to come, and a bundle waits for its turn but once
            with self._turn.if_free() as free:
                return self._scorer(self._shared(weights), rows, stamps) if free else None
        captured = with_weights(self._captured, weights)
        try:
            place = tempfile.TemporaryDirectory(prefix="larix-network-", dir=self._scratch)
        except OSError as error:
            raise StorageError(
                f"no folder to compile a network in: {error.strerror}; free some space"
            ) from error
        with place as folder:
            compiled = Path(folder, "network")
            self._compile(captured, compiled)
            return self._scorer(compiled, rows, stamps)

    def _shared(self, weights: bytes) -> Path:
        """What the first process compiled; those before it go, as whoever needs one yet compiles it again."""
        assert self._scratch is not None
        captured = with_weights(self._captured, weights)
        digest = self._of.copy()
        digest.update(weights)
        compiled = self._scratch / f"network-{digest.hexdigest()[:32]}"
        if not compiled.is_dir():
            for before in sorted(self._scratch.glob("network-*"), key=os.path.getmtime)[:-_KEPT]:
                shutil.rmtree(before, ignore_errors=True)
            self._compile(captured, compiled)
        return compiled

    def _compile(self, captured: Graph, folder: Path) -> None:
        backend = BACKENDS[self._backend]()
        compile_apart(
            captured,
            folder,
            backend=backend,
            buckets=self._buckets,
            precision=self._precision,
            cores=self._cores,
        )


class _Scorer:
    """Makes a bundle's scorer of what was compiled, over rows, and has it score some logged samples."""

    def __init__(self, bundle: Bundle, streams: int, between: Callable[[], None] = _none) -> None:
        """``between``: called between pieces of the first network's work; others make pauses in any case."""
        self._sample, self._signature, self._item = (
            bundle.sample,
            bundle.signature,
            bundle.manifest["vectors"],
        )
        warm = bundle.warm
        self._warm = Warm(warm.records.slice(0, _WARM), warm.logits[:_WARM])
        self._streams, self._between = streams, between
        self._last: Loaded | None = None  # it is what answers, or about to

    def __call__(self, compiled: Path, rows: Replica, stamps: Callable[[int], Stamp]) -> Loaded:
        between = self._between if self._last is None else pauses()
        forms = load_forms(compiled, self._streams, between=between)
        if self._last is None:
            loaded = Loaded(
                self._sample, self._signature, rows, forms, stamp=stamps, item=self._item, between=between
            )
        else:  # of the same shape: what runs cost is known
            loaded = self._last.with_network(forms, stamps, rows)
        if not np.isfinite(logits_of(loaded, self._signature, self._warm, 2, between=between)).all():
            raise StorageError("it gives logits that are no numbers on logged samples; send others")
        self._last = loaded
        return loaded
