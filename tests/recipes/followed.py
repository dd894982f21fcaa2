"""The small online run of the trainer's tests, exported as a bundle; and what its network says of each state in eager torch."""

import numpy as np
import problem
import pyarrow as pa
import safetensors.torch
import torch

from larix.compile import Eager, capture_ranker
from larix.embedding import DeltaFollower, Lookup, Replica, storage
from larix.feed import ValueModel, WeightedSum
from larix.model.embed import Embed
from larix.recipes.serving import RunMessages
from larix.serve.export import Contents, Training, export
from larix.serve.signature import signature_of
from larix.serve.warm import Warm, crossed
from larix.train import checkpoint
from larix.train.online.deltas import Deltas

THEIRS = ("video_id", "tags")
VALUE = ValueModel(fusion=WeightedSum(weights={"is_click": 1.0}))


class Still:
    """Rows that an Embed reads and nobody trains."""

    def __init__(self, rows):
        self.rows = rows

    def gather(self, layout, batch, outs, insert=True):
        self.rows.gather(layout, batch, outs)
        return Lookup(layout, batch, np.zeros(0, np.uint64), self.rows)


def logits(sample, ranker, rows, records):
    """float32 ``[B, tasks]`` in eager torch."""
    batch = sample.transform(records, labels=False)
    with torch.inference_mode():
        return ranker.eval()(Embed(sample, Still(rows))(batch, train=False)).numpy()


def bundle_of(run, records, folder, backend=None, **settings):
    """The newest version of the online run in ``run`` as a bundle; ``records``: logged samples to check it on."""
    found = checkpoint.load(run / "versions")
    ranker = problem.ranker(found.sample).eval()
    found.restore_ranker(ranker)
    signature = signature_of(found.sample, records.schema, item="video_id", candidates=THEIRS)
    read = records.select(
        [each for each in found.sample.columns if each not in found.sample.label_columns]
    ).slice(0, 8)
    snapshot, online = storage.read(found.path / "tables"), found.state["history"]["online"]
    said = logits(found.sample, ranker, Replica.load(found.path / "tables"), crossed(read, signature, 3))
    contents = Contents(
        model="problem",
        version=found.path.name,
        training=Training(
            history=online["history"],
            sequence=snapshot.instant.sequence,
            step=found.point.step,
            mark=online["mark"],
            event_ms=online["event_ms"],
        ),
        sample=found.sample,
        signature=signature,
        value=VALUE,
        graph=capture_ranker(found.sample, ranker, signature.per_request),
        snapshot=snapshot,
        warm=Warm(read, said.reshape(len(read), 3, -1)),
    )
    return export(contents, folder, backend=backend or Eager(), buckets=(8, 16), **settings)


class Told:
    """All states that a topic tells of from the newest version on: what ``records`` are by each, in eager torch."""

    def __init__(self, log, run, records):
        self.source = RunMessages(Deltas(log=log), run)
        self.sample = checkpoint.load(run / "versions").sample
        self.ranker, self.records = problem.ranker(self.sample), records
        self.inputs, self.networks = {}, {}
        first = self.source.newest()
        specs = self.source.snapshot(first.version).specs
        self.rows = Replica(list(specs.values()))
        self.follower = DeltaFollower(self, self.source, self)
        self.read()

    def read(self):
        """Take over what there is by now."""
        while self.follower.poll():
            pass
        assert not self.follower.trouble

    def apply(self, changes):
        self.rows.apply(changes)
        self._note()

    def replace(self, snapshot):
        self.rows.replace(snapshot)
        self._note()

    def begin(self, version):
        self.networks[self.follower.taking.last] = safetensors.torch.load(self.source.weights(version))

    def dense(self, payload):
        self.networks[self.follower.taking.last] = safetensors.torch.load(payload)

    def logits(self, rows, dense):
        """What the state of ``rows`` says with the network of ``dense``."""
        self.ranker.load_state_dict(self.networks[dense])
        with torch.inference_mode():
            return self.ranker.eval()(self.inputs[rows]).numpy()

    def _note(self):
        batch = self.sample.transform(self.records, labels=False)
        with torch.inference_mode():
            self.inputs[self.rows.sequence] = Embed(self.sample, Still(self.rows))(batch, train=False)


def request_of(signature, records, count=12):
    """The first record's context with the first ``count`` items; and the same as samples that would have been logged."""
    context = {name: records[name][0].as_py() for name in signature.context.names}
    candidates = {name: records[name].slice(0, count).to_pylist() for name in signature.candidates.names}
    asked = signature.context_of(context, 0)[0], signature.candidates_of(candidates)[0]
    return asked, _logged(signature, records.slice(0, count))


def _logged(signature, records):
    first = pa.array(np.zeros(len(records), np.int32))
    arrays = [
        records[name] if name in signature.candidates.names else records[name].take(first)
        for name in records.schema.names
    ]
    return pa.RecordBatch.from_arrays(arrays, names=records.schema.names)
