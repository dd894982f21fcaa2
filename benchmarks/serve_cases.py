"""What is served and asked for: a run, its bundle, and raw-feature requests of logged samples, in each form that a server takes.

Knows nothing of servers but the paths and forms of their requests.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import serve_net
import torch
from numpy.typing import NDArray
from rich.console import Console
from serve_load import write_requests
from serve_plain import INPUTS, scorer

from larix.recipes.bundled import Export, export_run
from larix.recipes.compiled import logged_samples
from larix.recipes.run import carry_out, open_run
from larix.serve import oip
from larix.serve.bundle import Bundle
from larix.serve.columns import as_served

CONSOLE = Console(stderr=True)
REQUESTS = 64  # different ones, sent in turn
BUCKETS = (50, 100, 200, 350, 500)  # the sizes that are asked for, as whoever serves would set them
NET = str(Path(__file__).with_name("serve_net.py")) + ":recipe"


def run_of(name: str, folder: Path, given: Path | None = None) -> Path:
    """The run of a case, trained once: ``net``, or ``kuairand`` (``given``, if there is one)."""
    if given is not None:
        return given
    run = folder / f"{name}-run"
    if not (run / "versions").is_dir():
        words = [] if name == "net" else ["epochs=1"]
        carry_out(NET if name == "net" else name, words, run, CONSOLE)
    return run


def bundle_of(run: Path, name: str, folder: Path, auc_loss: float) -> Path:
    """Its bundle, exported once. ``auc_loss``: see ``Export``; 0 is all in fp32."""
    bundle = folder / f"{name}-bundle-{auc_loss:g}"
    if not bundle.is_dir():
        how = Export(model=name, auc_loss=auc_loss or None, buckets=BUCKETS)
        export_run(run, bundle, CONSOLE, how)
    return bundle


class Asked:
    """Requests of ``candidates`` items each: a logged sample's user and context, and the items of other ones."""

    def __init__(self, run: Path, bundle: Path, candidates: int) -> None:
        opened, _ = open_run(run)
        self.signature, self.model = Bundle.open(bundle).signature, Bundle.open(bundle).model
        records = logged_samples(opened, run, CONSOLE, 4096)
        random = np.random.default_rng(0)
        self.parts = [
            (
                _served(records, self.signature.context, random.integers(0, len(records), 1)),
                _served(records, self.signature.candidates, random.permutation(len(records))[:candidates]),
            )
            for _ in range(REQUESTS)
        ]

    def json(self) -> list[bytes]:
        """As `/v1/rank` and every other server of JSON takes them: values of the user, lists of the candidates by column."""
        found = []
        for context, candidates in self.parts:
            body = {"user": _plain(context.to_pylist()[0]), "candidates": _plain(candidates.to_pydict())}
            found.append(json.dumps(body, separators=(",", ":")).encode())
        return found

    def binary(self) -> list[tuple[bytes, int]]:
        """As the Open Inference Protocol takes them over REST, tensors in binary: bodies, and bytes of JSON in each."""
        found = []
        for context, candidates in self.parts:
            tensors = [
                *_tensors(context, self.signature.context),
                *_tensors(candidates, self.signature.candidates),
            ]
            found.append(packed(tensors))
        return found

    def triton(self) -> list[tuple[bytes, int]]:
        """The net's, as the four arrays of ``serve_plain.INPUTS``, in binary."""
        return [
            packed(
                [oip.Tensor.of(name, each) for (name, _, _), each in zip(INPUTS, stacked(*part), strict=True)]
            )
            for part in self.parts
        ]


def packed(tensors: Sequence[oip.Tensor]) -> tuple[bytes, int]:
    """A request of `infer` over REST with binary tensors, and how many bytes of it are JSON."""
    raws = [bytes(each.raw()) for each in tensors]
    told = {
        "inputs": [
            {
                "name": each.name,
                "datatype": each.datatype,
                "shape": list(each.shape),
                "parameters": {"binary_data_size": len(raw)},
            }
            for each, raw in zip(tensors, raws, strict=True)
        ],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(told, separators=(",", ":")).encode()
    return b"".join([head, *raws]), len(head)


def write(path: Path, host: str, route: str, bodies: Sequence[bytes | tuple[bytes, int]]) -> Path:
    """Requests to ``route`` as ``serve_load`` reads them; bodies with the length of their JSON are binary ones."""
    head = f"POST {route} HTTP/1.1\r\nHost: {host}\r\n"
    if isinstance(bodies[0], tuple):
        lengths = {each[1] for each in bodies}
        if len(lengths) > 1:  # one head for all: blanks after the JSON make up for it
            longest = max(lengths)
            bodies = [(each[0][: each[1]].ljust(longest) + each[0][each[1] :], longest) for each in bodies]
        head += (
            f"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {bodies[0][1]}\r\n"
        )
        write_requests(path, head, [each[0] for each in bodies])
    else:
        write_requests(path, head + "Content-Type: application/json\r\n", list(bodies))
    return path


def export_plain(run: Path, folder: Path) -> Path:
    """The net's weights and rows for ``serve_plain``: `net.pt` (tensors only) and `rows.npy`, ``[tables, rows, dim]``.

    SystemExit if what it says of logged samples is not what the run says.
    """
    place = folder / "net-plain"
    opened, config = open_run(run)
    if not (place / "rows.npy").exists():
        place.mkdir(parents=True, exist_ok=True)
        ids = np.arange(config.get("arguments", {}).get("rows", 50_000))
        tables = [opened.tables.lookup(name, ids) for name in (*serve_net.USER_IDS, *serve_net.ITEM_IDS)]
        network = {name.removeprefix("net."): each for name, each in opened.ranker.state_dict().items()}
        torch.save(network, place / "net.pt")
        np.save(place / "rows.npy", np.stack(tables).astype(np.float32))
    records = logged_samples(opened, run, CONSOLE, 16)
    ours = opened.score(opened.sample.transform(records, labels=False))
    score = scorer(place, "torch")
    theirs = np.concatenate([score(*stacked(records, records, row)) for row in range(len(records))])
    worst = max(np.abs(ours[name] - theirs[:, at]).max() for at, name in enumerate(serve_net.LABELS))
    if not worst < 1e-5:
        raise SystemExit(
            f"the net that peers would serve differs from ours by {worst}; remove {place} and {run}"
        )
    return place


def stacked(
    context: pa.RecordBatch, candidates: pa.RecordBatch, row: int | None = None
) -> list[NDArray[Any]]:
    """The net's columns as ``serve_plain.INPUTS`` has them, of one row only if that is said."""
    groups = (serve_net.USER_IDS, serve_net.USER_NUMBERS, serve_net.ITEM_IDS, serve_net.ITEM_NUMBERS)
    found = []
    for names, batch in zip(groups, (context, context, candidates, candidates), strict=True):
        columns = np.stack([batch.column(name).to_numpy() for name in names], axis=-1)
        columns = columns if row is None else columns[row : row + 1]
        found.append(np.ascontiguousarray(columns[0] if names[0].startswith("user") else columns))
    return found


def _served(records: pa.RecordBatch, schema: pa.Schema, rows: NDArray[np.int64]) -> pa.RecordBatch:
    taken = records.take(pa.array(rows))
    arrays = [as_served(taken.column(field.name), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _plain(values: Any) -> Any:
    """Numbers as short as they may be: nobody sends 17 digits of a float32."""
    if isinstance(values, dict):
        return {name: _plain(each) for name, each in values.items() if each is not None}
    if isinstance(values, list):
        return [_plain(each) for each in values]
    return float(f"{values:.7g}") if isinstance(values, float) else values


def _tensors(batch: pa.RecordBatch, schema: pa.Schema) -> list[oip.Tensor]:
    found = []
    for field, column in zip(schema, batch.columns, strict=True):
        if column.null_count == len(column) and len(column):
            continue  # the protocol has no nulls: such a column is left out
        if pa.types.is_list(field.type):
            lengths = [len(each or ()) for each in column.to_pylist()]
            values = column.flatten().to_numpy(zero_copy_only=False)
            found.append(oip.Tensor.of(field.name, values))
            found.append(oip.Tensor.of(f"{field.name}.lengths", np.array(lengths, np.int64)))
        elif pa.types.is_string(field.type) or pa.types.is_binary(field.type):
            data = [each or "" for each in column.to_pylist()]
            found.append(oip.from_values(field.name, "BYTES", (len(batch),), data))
        else:
            known = column.fill_null(pa.scalar(0).cast(field.type))
            found.append(oip.Tensor.of(field.name, known.to_numpy(zero_copy_only=False)))
    return found
