"""What a bundle of the shop is made of: a small network, rows, and what it says in eager torch."""

from functools import cache

import numpy as np
import torch
from shop import ITEM, THEIRS, records, sample

from larix.compile import Bound, Eager, capture_ranker
from larix.embedding import Tables, TableSpec
from larix.feed import SSD, ValueModel, WeightedSum
from larix.model.embed import Embed
from larix.serve.export import Contents, HeldOut, Training, export
from larix.serve.signature import signature_of
from larix.serve.warm import Warm, crossed


class Net(torch.nn.Module):
    """All columns and the mean of the history through one hidden layer."""

    def __init__(self, declared):
        super().__init__()
        wide = sum(slot.dim for slot in declared.id_slots.values()) + len(declared.dense)
        wide += sum(slot.dim for slot in declared.sequences["history"].ids.values())
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(wide, 16), torch.nn.ReLU(), torch.nn.Linear(16, len(declared.tasks))
        )

    def forward(self, inputs):
        history = inputs.sequences["history"]
        mask = history.mask.unsqueeze(2).float()
        mean = (history.rows * mask).sum(1) / mask.sum(1).clamp(min=1)
        return self.layers(torch.cat([inputs.joined, mean], dim=1))


@cache
def trained():
    """The shop's sample, its network and its rows."""
    declared = sample()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net(declared).eval()
    tables = Tables([TableSpec(name=name, dim=dim) for name, dim in declared.tables.items()], seed=1)
    Embed(declared, tables)(declared.transform(records(seed=1)), train=True)
    return declared, net, tables


@cache
def captured():
    """Its network as a graph."""
    declared, net, _ = trained()
    return capture_ranker(declared, net, signature().per_request)


@cache
def warm(rows=12, candidates=3, seed=2):
    declared, net, tables = trained()
    logged = records(rows, seed).select(
        [name for name in declared.columns if name not in declared.label_columns]
    )
    batch = declared.transform(crossed(logged, signature(), candidates), labels=False)
    with torch.inference_mode():
        logits = net(Embed(declared, tables)(batch, train=False)).numpy()
    return Warm(logged, logits.reshape(rows, candidates, -1))


def signature():
    return signature_of(sample(), records().schema, item=ITEM, candidates=THEIRS)


def contents(**other):
    declared, _, tables = trained()
    parts = {
        "model": "shop",
        "version": "step-7",
        "training": Training(
            history="line", sequence=3, step=7, mark=11, event_ms=1_700_000_000_000, run="shop"
        ),
        "sample": declared,
        "signature": signature(),
        "value": ValueModel(fusion=WeightedSum(weights={"click": 1.0, "play_ms": 0.01})),
        "diversity": SSD(gamma=0.5, window=3),
        "vectors": "item",
        "graph": captured(),
        "snapshot": tables.snapshot(),
        "warm": warm(),
    }
    return Contents(**parts | other)


def made(folder, *, bundle=None, **settings):
    return export(bundle or contents(), folder, **{"backend": Eager(), "buckets": (4, 8)} | settings)


def held_out(auc_loss=0.01, calibration=0.05, rows=400):
    given = warm(rows, candidates=1, seed=5)
    draw = np.random.default_rng(0)
    labels = (draw.random((rows, 2)) < 1 / (1 + np.exp(-given.logits[:, 0]))).astype(np.float32)
    return HeldOut(warm=given, labels=labels, bound=Bound(auc_loss=auc_loss, calibration=calibration))
