"""A DLRM-like training step: 26 id slots of dim 16 over 10 million ids (zipf 1.05), 13 dense values, MLP 512-256-1.

Ours, the same net with random inputs in place of lookups (the ceiling), and peers, each in a process of its own,
measured in turn in one run. ``--quick`` uses a million ids and fewer rounds. ``--peers`` adds FBGEMM and Keras.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from measure import Worker, emit, peer_python, work
from numpy.typing import NDArray

SLOTS, DIM, DENSE, BATCH, HIDDEN, ZIPF = 26, 16, 13, 4096, (512, 256), 1.05
STEPS, BATCHES, LR = 20, 48, 0.05
FEATURES = [f"slot_{i}" for i in range(SLOTS)]
Step = Callable[[int], None]


def batches(ids: int, seed: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Ranks ``[BATCHES, SLOTS, BATCH]`` below ids / SLOTS by a bounded zipf law, dense values and labels."""
    rng = np.random.default_rng(seed)
    mass = np.cumsum(np.arange(1, ids // SLOTS + 1, dtype=np.float64) ** -ZIPF)
    ranks = np.searchsorted(mass, rng.random((BATCHES, SLOTS, BATCH)) * mass[-1]).astype(np.int64)
    dense = rng.standard_normal((BATCHES, BATCH, DENSE)).astype(np.float32)
    labels = (rng.random((BATCHES, BATCH, 1)) < 0.3).astype(np.float32)
    return ranks, dense, labels


def mlp() -> Any:
    import torch

    torch.manual_seed(0)
    sizes = (SLOTS * DIM + DENSE, *HIDDEN)
    layers: list[Any] = []
    for n_in, n_out in pairwise(sizes):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], 1))


def torch_step(case: str, rows: Callable[[int], Any] | None, update: Callable[[], None], ids: int) -> Step:
    """A plain eager step over ``rows(i) -> [BATCH, SLOTS * DIM]``, AdamW on the dense part, ``update`` for the rows.

    Without ``rows`` the net reads random numbers in place of rows and dense values, and finds their gradient.
    """
    import torch

    _, dense, labels = batches(ids)
    net = mlp()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    xs, ys = torch.from_numpy(dense), torch.from_numpy(labels)
    pool = [torch.randn(BATCH, SLOTS * DIM + DENSE, requires_grad=True) for _ in range(4)]
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits

    def step(i: int) -> None:
        k = i % BATCHES
        optimizer.zero_grad()
        if rows is None:
            x = pool[i % len(pool)]
            x.grad = None
        else:
            x = torch.cat([rows(k), xs[k]], dim=1)
        with torch.autocast("cpu", torch.bfloat16, enabled=case == "bf16"):
            logits = net(x)
        loss_of(logits.float(), ys[k]).backward()
        optimizer.step()
        update()

    return step


def ceiling(case: str, ids: int) -> tuple[str, Step]:
    """The dense work alone, with our allocator setting, which peers lack: what we would reach if rows cost nothing."""
    from larix import train

    train.keep_freed_memory()
    return "ceiling", torch_step(case, None, lambda: None, ids)


def embedding_bag(case: str, ids: int) -> tuple[str, Step]:
    """torch.nn.EmbeddingBag(sparse=True), one array for all slots, torch's sparse Adagrad."""
    import torch

    ranks, _, _ = batches(ids)
    start = (np.arange(SLOTS) * (ids // SLOTS))[None, :, None]
    index = torch.from_numpy(np.ascontiguousarray((ranks + start).transpose(0, 2, 1)))
    bag = torch.nn.EmbeddingBag(ids, DIM, mode="sum", sparse=True)
    optimizer = torch.optim.Adagrad(bag.parameters(), lr=LR)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    def rows(k: int) -> Any:
        return bag(index[k].reshape(-1, 1)).view(BATCH, SLOTS * DIM)

    return f"torch {torch.__version__} EmbeddingBag", torch_step(case, rows, update, ids)


def fbgemm(case: str, ids: int) -> tuple[str, Step]:
    """FBGEMM's fused table-batched embeddings on CPU (what torchrec trains with), exact row-wise Adagrad.

    All slots share one table, as its backward pass takes over three times as long with a table for each.
    """
    import torch
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    ranks, _, _ = batches(ids)
    tables = SplitTableBatchedEmbeddingBagsCodegen(
        [(ids, DIM, EmbeddingLocation.HOST, ComputeDevice.CPU)],
        feature_table_map=[0] * SLOTS,
        optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        learning_rate=LR,
    )
    tables.init_embedding_weights_uniform(-0.05, 0.05)
    offsets = torch.arange(SLOTS * BATCH + 1)
    start = (np.arange(SLOTS) * (ids // SLOTS))[None, :, None]
    index = torch.from_numpy((ranks + start).reshape(BATCHES, -1))
    from importlib.metadata import version

    return (
        f"fbgemm {version('fbgemm-gpu-cpu')} TBE",
        torch_step(case, lambda k: tables(index[k], offsets), lambda: None, ids),
    )


def keras(case: str, ids: int) -> tuple[str, Step]:
    """Keras 3 on TensorFlow: one static array for all slots, compiled step, AdamW for the net.

    The rows' Adagrad is TensorFlow's own sparse one: Keras' turns the gradient of the array into a dense one.
    """
    import keras as k3
    import tensorflow as tf

    if case == "bf16":
        k3.mixed_precision.set_global_policy("mixed_bfloat16")
    ranks, dense, labels = batches(ids)
    start = (np.arange(SLOTS) * (ids // SLOTS))[None, :, None]
    index = tf.constant(np.ascontiguousarray((ranks + start).transpose(0, 2, 1)))
    xs, ys = tf.constant(dense), tf.constant(labels)
    table = tf.Variable(tf.random.uniform((ids, DIM), -0.05, 0.05))
    net = k3.Sequential(
        [k3.layers.Dense(h, activation="relu") for h in HIDDEN] + [k3.layers.Dense(1, dtype="float32")]
    )
    net.build((None, SLOTS * DIM + DENSE))
    net_optimizer, row_optimizer = k3.optimizers.AdamW(1e-3), tf.compat.v1.train.AdagradOptimizer(LR)
    net_optimizer.build(net.trainable_variables)
    loss_of = k3.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def train(ids: Any, x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            rows = tf.reshape(tf.nn.embedding_lookup(table, ids), (BATCH, SLOTS * DIM))
            loss = loss_of(y, net(tf.concat([rows, x], axis=1), training=True))
        weights = net.trainable_variables
        gradients = tape.gradient(loss, [*weights, table])
        net_optimizer.apply_gradients(zip(gradients[:-1], weights, strict=True))
        row_optimizer.apply_gradients([(gradients[-1], table)])

    def step(i: int) -> None:
        k = i % BATCHES
        train(index[k], xs[k], ys[k])

    return f"keras {k3.__version__} on tensorflow {tf.__version__}", step


def larix(case: str, ids: int) -> tuple[str, Step]:
    """Ours, through the training path that ``fit`` takes: Lookahead, Embed, step; row-wise Adagrad, AdamW."""
    import torch

    from larix import embedding, features, train
    from larix.batch import Batch, Jagged
    from larix.data import Position
    from larix.train.learner import make_learner
    from larix.train.lookahead import Lookahead, Placed
    from larix.train.phases import Phases
    from larix.train.step import step
    from larix.train.threads import torch_team

    train.keep_freed_memory()
    sample = features.Sample(
        **{name: features.Id(name, dim=DIM) for name in FEATURES},
        **{f"dense_{i}": features.Dense(f"dense_{i}", standardise=False) for i in range(DENSE)},
        tasks=(features.Binary("label"),),
    )
    ranks, dense, labels = batches(ids)
    spread = np.uint64(0x9E3779B97F4A7C15)  # ids as a hash would give them, not 0, 1, 2
    keys = (ranks.astype(np.uint64) * spread).view(np.int64)
    specs = [
        embedding.TableSpec(name=name, dim=DIM, optimizer=embedding.RowAdagrad(lr=LR)) for name in FEATURES
    ]
    tables = embedding.Tables(specs)
    if STALENESS == 0:
        tables.borrow_threads(torch_team())
    everyone = (np.arange(ids // SLOTS, dtype=np.uint64) * spread).view(np.int64)
    for name in FEATURES:  # all rows are there, as in the peers' static arrays
        tables.lookup(name, everyone, insert=True)

    class Net(torch.nn.Module):
        takes_bf16 = True  # a linear layer reads the inputs, as in larix.model.mlp.MLPRanker

        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def forward(self, inputs: Any) -> Any:
            return self.net(inputs.joined)

    settings = train.Settings(batch_size=BATCH, bf16=case == "bf16", staleness=STALENESS)
    dense_optimizer = partial(torch.optim.AdamW, lr=1e-3, fused=True)
    learner = make_learner(sample, Net(), tables, dense_optimizer, settings)
    ready = [
        Batch(
            size=BATCH,
            ids={name: Jagged(keys[k, slot]) for slot, name in enumerate(FEATURES)},
            sequences={},
            dense=dense[k],
            labels=labels[k],
        )
        for k in range(BATCHES)
    ]
    phases = Phases()
    lookahead = Lookahead(learner.embed, settings.staleness, phases)
    position = Position(epoch=0, row=0, order="")

    def endless() -> Any:
        while True:
            for batch in ready:
                yield Placed(batch, position)

    flow = lookahead(endless())

    def one(i: int) -> None:
        placed, inputs = next(flow)
        step(learner, placed.batch, inputs, settings, apply=lookahead.apply)

    PHASES.append(phases)
    return "larix", one


PHASES: list[Any] = []  # of our worker: where the time of its steps went
STALENESS = 0  # exact, as fit by default
SUBJECTS: dict[str, Callable[[str, int], tuple[str, Step]]] = {
    "larix": larix,
    "ceiling": ceiling,
    "torch": embedding_bag,
    "fbgemm": fbgemm,
    "keras": keras,
}


def worker(subject: str, case: str, ids: int) -> None:
    name, step = SUBJECTS[subject](case, ids)
    done = 0
    for _ in range(5):
        step(done)
        done += 1

    def one_round() -> dict[str, float]:
        nonlocal done
        before = [dict(phases.seconds) for phases in PHASES]
        start = time.perf_counter()
        for _ in range(STEPS):
            step(done)
            done += 1
        told = {"samples_per_s": STEPS * BATCH / (time.perf_counter() - start)}
        for phases, earlier in zip(PHASES, before, strict=True):
            for part in ("lookup", "update"):
                told[f"{part}_ms"] = (phases.seconds[part] - earlier[part]) * 1e3 / STEPS
        return told

    work({"subject": name}, one_round)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a million ids, fewer rounds: under a minute")
    parser.add_argument(
        "--peers", action="store_true", help="also FBGEMM and Keras, each in its own environment"
    )
    parser.add_argument("--worker", nargs=3, metavar=("SUBJECT", "CASE", "IDS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker[0], args.worker[1], int(args.worker[2]))
    ids, rounds = (1_000_000, 6) if args.quick else (10_000_000, 15)
    script = str(Path(__file__).resolve())
    pythons = dict.fromkeys(("larix", "ceiling", "torch"), sys.executable)
    if args.peers:
        pythons["fbgemm"] = peer_python(
            "fbgemm", ["torch==2.13.0"], ["numpy"], ["--no-deps", "fbgemm-gpu-cpu==1.8.0"]
        )
        pythons["keras"] = peer_python("keras", ["tensorflow-cpu==2.21.0"])
    for case in ("fp32", "bf16"):
        workers = {
            subject: Worker(
                python, script, ["--worker", subject, case, str(ids)], {"GOMP_SPINCOUNT": "10000"}
            )
            for subject, python in pythons.items()
        }
        told: dict[str, list[dict[str, float]]] = {subject: [] for subject in workers}
        for _ in range(rounds):  # in turn, so that a noisy minute hits all alike
            for subject, process in workers.items():
                told[subject].append(process.round())
        speeds = {subject: [each["samples_per_s"] for each in those] for subject, those in told.items()}
        for subject, process in workers.items():
            name = process.about["subject"]
            emit(
                "train_step",
                name,
                case,
                "samples_per_s",
                speeds[subject],
                "samples/s",
                ids=ids,
                cores=os.cpu_count(),
            )
            emit(
                "train_step",
                name,
                case,
                "peak_rss_bytes",
                [process.end()["peak_rss_bytes"]],
                "bytes",
                ids=ids,
            )
        ratio = [ours / top for ours, top in zip(speeds["larix"], speeds["ceiling"], strict=True)]
        emit("train_step", "larix", case, "share_of_ceiling", ratio, "ratio", ids=ids)
        for part in ("lookup_ms", "update_ms"):
            emit("train_step", "larix", case, part, [each[part] for each in told["larix"]], "ms", ids=ids)
    return None


if __name__ == "__main__":
    main()
