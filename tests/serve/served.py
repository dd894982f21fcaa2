"""A small ranker over the shop, its rows, and both compiled: what tests of scoring load."""

import numpy as np
import pyarrow as pa
import shop
import torch
from torch import nn

from larix import compile as lc
from larix.batch import Batch
from larix.embedding import Changes, Instant, Replica, Snapshot, TableSpec
from larix.embedding.changes import Touched
from larix.embedding.lookup import Lookup
from larix.embedding.snapshot import Piece
from larix.model.embed import Embed
from larix.serve import Stamp
from larix.serve.columns import as_served
from larix.serve.loaded import Loaded
from larix.serve.signature import signature_of

IDS = np.arange(-5, 60)
BUCKETS = (4, 16)


class Net(nn.Module):
    """A user's tower over what the request brings, and candidates that attend to the history."""

    def __init__(self, sample, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        width = sum(slot.dim for slot in sample.id_slots.values()) + len(sample.dense)
        events = sum(slot.dim for slot in sample.sequences["history"].ids.values())
        self.key = nn.Linear(events + len(sample.sequences["history"].dense), 6)
        self.query = nn.Linear(sample.id_slots["item"].dim, 6)
        self.hidden = nn.Linear(width + 6, 16)
        self.out = nn.Linear(16, len(sample.tasks))

    def forward(self, inputs):
        history = inputs.sequences["history"]
        seen = ~history.mask.unsqueeze(2)
        events = torch.cat([history.rows, history.dense], dim=2).masked_fill(seen, 0.0)
        keys = torch.relu(self.key(events)).masked_fill(seen, 0.0)
        weights = torch.sigmoid(torch.einsum("bd,bld->bl", self.query(inputs["item"]), keys))
        past = torch.bmm(weights.unsqueeze(1), keys).squeeze(1)
        return self.out(torch.relu(self.hidden(torch.cat([inputs.joined, past], dim=1))))


def signature(sample):
    logged = shop.records().schema
    return signature_of(sample, logged, item=shop.ITEM, candidates=shop.THEIRS)


def forms(folder, net, sample, streams=2, buckets=BUCKETS):
    """Compiled for torch eager, which is there everywhere."""
    captured = lc.capture_ranker(sample, net.eval(), signature(sample).per_request)
    hoisted, _ = lc.optimise(captured)
    lc.compile_forms(hoisted, folder, backend=lc.Eager(), buckets=buckets)
    return lc.load_forms(folder, streams)


def specs(sample):
    return [TableSpec(name=table, dim=dim) for table, dim in sample.tables.items()]


def instant(sequence):
    return Instant(history="h", sequence=sequence, steps=0, clock=0)


def columns(spec, value):
    """Rows of all ids: random ones of that seed, or all weights ``value`` if that is a float."""
    if isinstance(value, float):
        weights = np.full((len(IDS), spec.dim), value, np.float32)
    else:
        weights = np.random.default_rng(value).standard_normal((len(IDS), spec.dim)).astype(np.float32)
    rest = np.zeros((len(IDS), spec.state), np.float32), np.zeros(len(IDS), np.uint32)
    return IDS, weights, *rest, np.zeros(len(IDS), np.float32)


def replica(sample):
    """At sequence number 1."""
    found = Replica(specs(sample))
    pieces = [Piece(spec.name, *columns(spec, number)) for number, spec in enumerate(specs(sample))]
    found.replace(Snapshot({spec.name: spec for spec in specs(sample)}, 0, instant(1), iter(pieces)))
    return found


def step(rows, sample, value=None):
    """The next state of the rows, all of them others."""
    last = rows.sequence + 1
    nothing = np.zeros(0, np.int64)
    tables = {
        spec.name: Touched(*columns(spec, last * 100 if value is None else value), removed=nothing)
        for spec in specs(sample)
    }
    named = {spec.name: spec for spec in specs(sample)}
    rows.apply(Changes(first=last, instant=instant(last), specs=named, tables=tables))


def stamped(dense=0, version="1"):
    return lambda rows: Stamp(model="shop", version=version, history="h", rows=rows, dense=dense)


def loaded(folder, sample=None, net=None, **more):
    """A model whose features are fitted, over fresh rows."""
    sample = sample or shop.sample()
    net = net or Net(sample)
    return Loaded(
        sample, signature(sample), replica(sample), forms(folder, net, sample), stamp=stamped(), **more
    )


def request(count, seed=0):
    """A context and ``count`` candidates, as requests bring them."""
    ours, records = signature(shop.sample()), shop.records(max(count, 8), seed)

    def typed(schema, rows):
        arrays = [as_served(records.column(field.name), field.type).slice(0, rows) for field in schema]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    return typed(ours.context, 1), typed(ours.candidates, count)


def whole(context, candidates):
    """Samples as they would be logged: the context beside every candidate."""
    repeated = context.take(pa.array(np.zeros(len(candidates), np.int32)))
    for name in candidates.schema.names:
        repeated = repeated.append_column(name, candidates.column(name))
    return repeated


class ReadOnly:
    """A replica as Embed asks for rows."""

    def __init__(self, rows):
        self.rows = rows

    def gather(self, layout, batch: Batch, outs, *, insert=True):
        self.rows.gather(layout, batch, outs)
        return Lookup(layout, batch, np.zeros(0, np.uint64), self.rows)


def expected(sample, net, rows, context, candidates):
    """What the ranker itself says of whole samples: float32 ``[n, tasks]``."""
    batch = sample.transform(whole(context, candidates), labels=False)
    with torch.inference_mode():
        return net.eval()(Embed(sample, ReadOnly(rows))(batch, train=False)).numpy()
