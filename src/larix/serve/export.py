"""Making a bundle: written beside its place, compared with training there, and put in its place if it says the same.

Knows what a bundle holds; knows nothing of where that comes from.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch

from larix.batch import Floats
from larix.compile import BUCKETS, Backend, Bound, Graph, Precision
from larix.compile.graph import to_json
from larix.compile.precision import measured
from larix.embedding import Snapshot, manifest
from larix.embedding.quantize import Format
from larix.errors import ConfigError
from larix.features import Sample
from larix.feed import Diversity, ValueModel
from larix.feed.serial import write as write_value
from larix.serve import rows
from larix.serve.bundle import (
    FORMAT,
    GRAPH,
    SAMPLE,
    SIGNATURE,
    TABLES,
    VALUE,
    WARM,
    WEIGHTS,
    Bundle,
    compile_into,
    diversity_json,
    sealed,
)
from larix.serve.parity import BOUND, ParityError, logits_of
from larix.serve.signature import Signature
from larix.serve.warm import Warm

_MARGIN = 2.0  # another machine rounds lower precision otherwise than the one that exported
_REQUESTS = 64  # of held-out samples, of one call


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The state that training was in. ``history``: its line; ``mark``: see ``train.online``, 0 if it was not online."""

    history: str
    sequence: int
    step: int
    mark: int = 0
    event_ms: int = 0
    run: str = ""

    def to_json(self) -> dict[str, Any]:
        """For a manifest."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeldOut:
    """Samples that lower precision is judged on: ``warm`` with one candidate a request, ``labels`` float32 ``[n, tasks]``."""

    warm: Warm
    labels: Floats
    bound: Bound


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Contents:
    """What a bundle is made of.

    ``graph``: as captured, per request what the signature says. ``vectors``: the slot whose rows tell how alike items are, if any
    does. ``snapshot``: the rows. ``warm``: samples that training and serving are compared on.
    """

    model: str
    version: str
    training: Training
    sample: Sample
    signature: Signature
    value: ValueModel
    graph: Graph
    snapshot: Snapshot
    warm: Warm
    diversity: Diversity | None = None
    vectors: str | None = None


def export(
    contents: Contents,
    folder: str | Path,
    *,
    precision: Format = "fp32",
    products: Precision | None = None,
    backend: Backend | None = None,
    buckets: Sequence[int] = BUCKETS,
    bound: float = BOUND,
    held_out: HeldOut | None = None,
) -> Bundle:
    """Write a bundle to ``folder``, in place of a bundle that is there, and return it.

    ``precision``: of rows. ``products``: of the network's products, fp32 unless told. ``bound``: by how much a logit may be off
    where both are fp32. Where they are not, ``held_out`` bounds what that costs all together, and the bundle's bound is
    twice what was seen.

    Raises, and leaves nothing behind, what was there untouched:
        ParityError: serving would not say what training does. StorageError: the disk is full or fails.
        ConfigError: there is something else in ``folder``, or lower precision is asked for and nothing to judge it by.
    """
    folder, products = Path(folder), products or Precision()
    if not _may_become(folder):
        raise ConfigError(f"'{folder}' holds something else than a bundle; give a new or an empty folder")
    exact = precision == "fp32" and not products.units
    if not exact and held_out is None:
        raise ConfigError(
            "what rows or products in less than fp32 cost has to be measured; give held_out=HeldOut(...)"
        )

    def fill(fresh: Path) -> Mapping[str, Any]:
        graph = contents.graph
        for name, content in {
            SAMPLE: contents.sample.to_json().encode(),
            SIGNATURE: contents.signature.to_json().encode(),
            VALUE: write_value(contents.value).encode(),
            WARM: contents.warm.to_bytes(),
            GRAPH: json.dumps(to_json(graph)).encode(),
            WEIGHTS: safetensors.torch.save(dict(graph.weights)),
        }.items():
            _put(fresh / name, content)
        count = rows.write(contents.snapshot, fresh / TABLES, precision)
        compile_into(fresh, graph, products, buckets, backend)
        body = {
            "format": FORMAT,
            "kind": "bundle",
            "model": contents.model,
            "version": contents.version,
            "training": contents.training.to_json(),
            "tasks": [task.name for task in contents.sample.tasks],
            "rows": {"precision": precision, "count": count},
            "precision": products.to_json(),
            "buckets": sorted(set(buckets)),
            "diversity": diversity_json(contents.diversity),
            "vectors": contents.vectors,
        }
        made = Bundle(fresh, body)
        parity = made.check(bound if exact else math.inf).to_json()
        parity["bound"] = bound if exact else max(bound, _MARGIN * parity["error"])
        if not exact and held_out is not None:
            parity["held_out"] = _judged(made, held_out)
        return sealed(fresh, {**body, "parity": parity})

    manifest.write(folder, fill)
    return Bundle.open(folder)


def _judged(bundle: Bundle, held_out: HeldOut) -> dict[str, float]:
    """What all lower precision together costs. ParityError if that is more than the bound."""
    exact = held_out.warm.logits[:, 0]
    ours = logits_of(bundle.load(), bundle.signature, held_out.warm, together=_REQUESTS)[:, 0]
    if not np.isfinite(ours).all():
        raise ParityError("the network in lower precision gives logits that are no numbers; take fp32")
    found = measured(ours, exact, held_out.labels)
    limits = {"auc_loss": held_out.bound.auc_loss, "calibration": held_out.bound.calibration}
    for name, limit in limits.items():
        if limit is not None and name not in found:
            raise ConfigError(
                f"{name} cannot be measured: no task of the held-out samples has labels 0 and 1 alone; keep all in fp32"
            )
        if limit is not None and found[name] > limit:
            raise ParityError(
                f"{name} of rows and products in lower precision is {found[name]:.2g} on held-out samples, more than "
                f"{limit:.2g}; keep rows or products in more bits"
            )
    return found


def _may_become(folder: Path) -> bool:
    """Whether a bundle may take the place of what is there: nothing, or another."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return True
    try:
        said = json.loads((folder / manifest.NAME).read_text(encoding="utf-8"))
        return bool(said["kind"] == "bundle")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _put(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
