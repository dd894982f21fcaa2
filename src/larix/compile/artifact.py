"""A graph compiled ahead of time, in a folder of its own by back-end and instruction set, every byte under a checksum.

Knows nothing of what back-ends write.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from larix.compile.backends import Backend, Eager, OnnxRuntime, OpenVINO
from larix.compile.graph import Graph, Input, from_json, to_json
from larix.compile.lower import check_known, lower
from larix.compile.machine import instruction_set
from larix.compile.optimise import optimise
from larix.compile.precision import Precision
from larix.compile.session import Session
from larix.errors import ConfigError, StorageError

BUCKETS = (64, 128, 256, 512)
BACKENDS: dict[str, type[Backend]] = {each.name: each for each in (OpenVINO, OnnxRuntime, Eager)}
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder that ``load`` takes, with what its manifest says."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def buckets(self) -> tuple[int, ...]:
        """Numbers of candidates it was compiled for."""
        return tuple(self.manifest["buckets"])

    @property
    def precision(self) -> Precision:
        """What each part is computed in, and the error that was measured."""
        return Precision.from_json(self.manifest["precision"])


def compile(
    graph: Graph,
    folder: str | Path,
    *,
    captured: Sequence[Input] | None = None,
    backend: Backend | None = None,
    buckets: Sequence[int] = BUCKETS,
    precision: Precision | None = None,
) -> Artifact:
    """Compile ``graph`` for this machine into ``folder/BACKEND-INSTRUCTIONSET``, in place of what was there.

    ``captured``: the inputs before hoisting, for ``Session.parts``. ``buckets``: the numbers of candidates that
    requests are padded to. ConfigError if the back-end is not installed or lacks a precision.
    """
    backend = backend or OpenVINO()
    precision = precision or Precision()
    if not buckets or any(type(rows) is not int or rows < 1 for rows in buckets):
        raise ConfigError(f"buckets are {tuple(buckets)!r}; give one or more numbers of candidates")
    lacking = sorted(set(precision.units.values()) - backend.kinds)
    if lacking:
        raise ConfigError(
            f"{backend.name} does not compute in {lacking} here; it has {sorted(backend.kinds)}"
        )
    version = backend.version()
    check_known(graph, precision)
    formed, _ = optimise(graph, backend.rules)
    precision = precision.of(
        formed
    )  # what has another form now is computed in the precision of what it reads
    lowered = lower(formed, precision, backend.int8_tile)
    sizes = sorted(set(buckets))
    files = {f"{rows}.bin": backend.compile(lowered, rows) for rows in sizes}
    files["graph.json"] = json.dumps(
        {
            "graph": to_json(lowered),
            "captured": to_json(Graph(tuple(captured or graph.inputs), (), ()))["inputs"],
        }
    ).encode()
    files["weights.safetensors"] = safetensors.torch.save(dict(lowered.weights))
    manifest = {
        "format": 1,
        "backend": backend.name,
        "version": version,
        "instruction_set": instruction_set(),
        "buckets": sizes,
        "precision": precision.to_json(),
        "files": {name: _digest(content) for name, content in files.items()},
    }
    manifest["sha256"] = _digest(json.dumps(manifest, sort_keys=True).encode())
    target = Path(folder) / f"{backend.name}-{instruction_set()}"
    _write(target, {**files, _MANIFEST: json.dumps(manifest, indent=1).encode()})
    return Artifact(target, manifest)


def find(folder: str | Path, backend: str | None = None) -> Artifact:
    """The artifact in ``folder`` for this machine: of ``backend``, else OpenVINO's, ONNX Runtime's or eager's.

    ConfigError says what there is if none fits.
    """
    names = [backend] if backend else list(BACKENDS)
    for name in names:
        path = Path(folder) / f"{name}-{instruction_set()}"
        if path.is_dir():
            return Artifact(path, _manifest(path))
    there = sorted(path.parent.name for path in Path(folder).glob(f"*/{_MANIFEST}"))
    raise ConfigError(
        f"'{folder}' has nothing compiled for {' or '.join(names)} on {instruction_set()}; it has {there}; compile it here"
    )


def load(
    artifact: Artifact | str | Path, streams: int = 1, *, between: Callable[[], None] = lambda: None
) -> Session:
    """A session over ``streams`` streams of one thread each, warmed. No source is compiled.

    ``between``: called between pieces of work, the longest of which is what the back-end does for one bucket.
    ConfigError if the artifact is of another instruction set or another version of its back-end; StorageError names a
    damaged file.
    """
    found = artifact if isinstance(artifact, Artifact) else find(artifact)
    if streams < 1:
        raise ConfigError(f"streams is {streams}; give 1 or more, at most as many as there are cores")
    manifest = _manifest(found.folder)
    kind = BACKENDS.get(manifest["backend"])
    if kind is None:
        raise ConfigError(
            f"'{found.folder}' is of the back-end '{manifest['backend']}'; there are {sorted(BACKENDS)}"
        )
    backend = kind()
    ours = {"instruction_set": instruction_set(), "version": backend.version()}
    for name, value in ours.items():
        if manifest[name] != value:
            raise ConfigError(
                f"'{found.folder}' was compiled for {name.replace('_', ' ')} {manifest[name]}; here it is {value}; "
                "compile it here"
            )

    def read(name: str) -> bytes:
        between()
        return _checked(found.folder / name, manifest["files"][name])

    try:
        weights = safetensors.torch.load(read("weights.safetensors"))
        held = json.loads(read("graph.json"))
        captured = from_json({"inputs": held["captured"], "nodes": [], "outputs": []}, {}).inputs
        graph = from_json(held["graph"], weights)
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise StorageError(f"'{found.folder}' holds no graph: {error!r}; compile it again") from error
    compiled = ((rows, read(f"{rows}.bin")) for rows in manifest["buckets"])
    runner = backend.load(graph, compiled, streams)
    between()
    return Session(graph, captured, runner, manifest["buckets"], streams)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        told = manifest.pop("sha256")
        if manifest["format"] != 1:
            raise StorageError(
                f"'{path}' has format {manifest['format']} but this larix reads 1; compile it again"
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"'{path}' is damaged: {error!r}; compile it again") from error
    if told != _digest(json.dumps(manifest, sort_keys=True).encode()):
        raise StorageError(f"'{path}' is damaged: it does not match its own checksum; compile it again")
    return {**manifest, "sha256": told}


def _checked(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"'{path}' is damaged: {error.strerror}; compile it again") from error
    if _digest(content) != digest:
        raise StorageError(
            f"'{path}' is damaged: its checksum is not the one in the manifest; compile it again"
        )
    return content


def _write(target: Path, files: Mapping[str, bytes]) -> None:
    """Write the folder beside its place, sync it, and put it there."""
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    try:
        for stale in (fresh, old):
            shutil.rmtree(stale, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name, content in files.items():
            with (fresh / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if target.exists():
            target.rename(old)
        fresh.rename(target)
        _sync(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise StorageError(f"'{target}' cannot be written: {error.strerror}; free some space") from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
