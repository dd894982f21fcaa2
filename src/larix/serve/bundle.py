"""A bundle: all that answering needs, in one folder of which every byte is under a checksum. No pickle, nobody's source.

Knows how to read one; knows nothing of training, of the network's class, or of how one comes to be (see ``export.py``).
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import safetensors
import safetensors.torch

from larix.compile import Backend, Graph, Precision, optimise
from larix.compile.forms import compile_forms, load_forms
from larix.compile.graph import from_json
from larix.embedding import Replica, manifest
from larix.errors import ConfigError, StorageError
from larix.features import Sample
from larix.feed import DPP, MMR, SSD, Diversity, ValueModel
from larix.feed.serial import read as read_value
from larix.serve import parity, rows
from larix.serve.loaded import Loaded
from larix.serve.parity import Parity
from larix.serve.request import Stamp
from larix.serve.signature import Signature
from larix.serve.warm import Warm

FORMAT = 1
SAMPLE, SIGNATURE, VALUE, WARM = "sample.json", "signature.json", "value.json", "warm.arrow"
GRAPH, WEIGHTS = "graph.json", "graph.safetensors"
TABLES, COMPILED = "tables", "compiled"  # folders
_DIVERSITY: Mapping[str, type[MMR | DPP | SSD]] = {"mmr": MMR, "dpp": DPP, "ssd": SSD}


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """The bundle in ``folder``, and what its manifest says."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, folder: str | Path, *, between: Callable[[], None] = lambda: None) -> Self:
        """The bundle in ``folder``, every file of it read through and compared with its checksum.

        ``between`` is called after each. StorageError names one that is missing or damaged.
        """
        folder = manifest.standing(Path(folder))
        body = manifest.read(folder, (FORMAT,))
        if body.get("kind") != "bundle":
            raise StorageError(f"'{folder}' is no bundle; give a folder that larix export made")
        for name, digest in body["files"].items():
            check_file(folder / name, digest)
            between()
        return cls(folder, body)

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.manifest["model"])

    @property
    def version(self) -> str:
        """Which version of it."""
        return str(self.manifest["version"])

    @property
    def bound(self) -> float:
        """By how much a logit may differ from the trained network's."""
        return float(self.manifest["parity"]["bound"])

    @property
    def stamp(self) -> Stamp:
        """The state that the bundle is of."""
        return self.stamp_at(self.manifest["training"]["sequence"])

    def stamp_at(self, sequence: int) -> Stamp:
        """The state with rows at ``sequence`` and the bundle's network."""
        told = self.manifest["training"]
        return Stamp(
            model=self.model,
            version=self.version,
            history=told["history"],
            rows=sequence,
            dense=told["sequence"],
            event_ms=told["event_ms"],
        )

    @property
    def sample(self) -> Sample:
        """The declaration of samples, fitted."""
        return Sample.from_json(self._text(SAMPLE))

    @property
    def signature(self) -> Signature:
        """What requests hold."""
        return Signature.from_json(self._text(SIGNATURE))

    @property
    def value(self) -> ValueModel:
        """What makes one number of an item's predictions; its file may be given to a ``feed.LiveValueModel``."""
        return read_value(self._text(VALUE))

    @property
    def diversity(self) -> Diversity | None:
        """How pages are chosen; None: by value alone."""
        told = self.manifest["diversity"]
        return None if told is None else diversity_of(told)

    @property
    def precision(self) -> Precision:
        """What the network's products are computed in, and what that was measured to cost."""
        return Precision.from_json(self.manifest["precision"])

    @property
    def graph(self) -> Graph:
        """The network as it was captured, before any rule."""
        try:
            weights = safetensors.torch.load((self.folder / WEIGHTS).read_bytes())
            return from_json(json.loads(self._text(GRAPH)), weights)
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise StorageError(f"'{self.folder / GRAPH}' holds no graph: {error}; export it again") from error

    @property
    def warm(self) -> Warm:
        """Logged samples, and what the trained network said of them."""
        try:
            return Warm.from_bytes((self.folder / WARM).read_bytes())
        except OSError as error:
            raise StorageError(f"'{self.folder / WARM}' cannot be read: {error.strerror}") from error

    def replica(self, *, threads: int = 1) -> Replica:
        """The rows, as the bundle's precision keeps them. StorageError names a damaged file."""
        snapshot, precision = rows.read(self.folder / TABLES)
        found = Replica(list(snapshot.specs.values()), precision=precision, threads=threads)
        found.replace(snapshot)
        return found

    def load(self, *, streams: int = 1) -> Loaded:
        """The model in memory, warm, over ``streams`` streams of one thread each.

        ConfigError if nothing is compiled for this machine: see ``compile_here``.
        """
        forms, item = load_forms(self.folder / COMPILED, streams), self.manifest["vectors"]
        return Loaded(self.sample, self.signature, self.replica(), forms, stamp=self.stamp_at, item=item)

    def compile_here(self, *, backend: Backend | None = None) -> "Bundle":
        """The bundle with artifacts for this machine beside those of others, in the precision that was measured.

        All else stays the same file. ParityError if they say something else than training, StorageError if they cannot be
        written: it stays as it was then.
        """

        def fill(fresh: Path) -> Mapping[str, Any]:
            for name in self.manifest["files"]:
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(self.folder / name, fresh / name)
            compile_into(fresh, self.graph, self.precision, self.manifest["buckets"], backend)
            Bundle(fresh, self.manifest).check()
            return sealed(fresh, self.manifest)

        manifest.write(self.folder, fill)
        return Bundle.open(self.folder)

    def check(self, bound: float | None = None) -> Parity:
        """Compare serving with training on the bundle's samples; ``bound``: of a logit, the bundle's own unless told.

        ParityError says where they differ; ConfigError if nothing is compiled for this machine.
        """
        sample, signature, warm = self.sample, self.signature, self.warm
        parity.check_features(sample, signature, warm)
        return parity.check_logits(self.load(), signature, warm, self.bound if bound is None else bound)

    def _text(self, name: str) -> str:
        path = self.folder / name
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise StorageError(f"'{path}' cannot be read: {error}; export the bundle again") from error


def compile_into(
    folder: Path, graph: Graph, precision: Precision, buckets: Sequence[int], backend: Backend | None
) -> None:
    """Compile a captured graph for this machine, through all rules, into the bundle that ``folder`` is or becomes."""
    small, _ = optimise(graph)
    compile_forms(small, folder / COMPILED, backend=backend, buckets=buckets, precision=precision)


def sealed(folder: Path, body: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's body with the SHA-256 of every file below ``folder``, all of them on the disk."""
    paths = sorted(path for path in folder.rglob("*") if path != folder / manifest.NAME)
    for path in paths:
        if path.is_dir():
            manifest.sync(path)
    files = {str(path.relative_to(folder)): _digest(path) for path in paths if path.is_file()}
    return {**body, "files": files}


def check_file(path: Path, digest: str) -> None:
    """StorageError if the file is missing or not what it was."""
    try:
        found = _digest(path)
    except OSError as error:
        raise StorageError(f"'{path}' cannot be read: {error.strerror}; load another version") from error
    if found != digest:
        raise StorageError(
            f"'{path}' is damaged: its checksum is not the one in the manifest; load another version"
        )


def diversity_json(method: Diversity | None) -> dict[str, Any] | None:
    """A method as JSON can hold it, which ``diversity_of`` gives again; ConfigError for a kind of your own."""
    if method is None:
        return None
    for kind, known in _DIVERSITY.items():
        if isinstance(method, known):
            return {"kind": kind} | asdict(method)
    raise ConfigError(f"{method!r} cannot be kept in a bundle; the kinds are {', '.join(_DIVERSITY)}")


def diversity_of(told: Mapping[str, Any]) -> Diversity:
    """What ``diversity_json`` gave. ConfigError for anything else."""
    settings = dict(told)
    known = _DIVERSITY.get(str(settings.pop("kind", "")))
    if known is None:
        raise ConfigError(f"there is no diversity {told!r}; the kinds are {', '.join(_DIVERSITY)}")
    try:
        return known(**settings)
    except TypeError as error:
        raise ConfigError(f"diversity {told!r} does not read: {error}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
