"""A DLRM-like training step: 26 id slots of dim 16 over 10 million ids (zipf 1.05), 13 dense values, MLP 512-256-1.

Ours, the same net with random inputs in place of lookups (the ceiling), and peers, each in a process of its own,
measured in turn in one run. ``--quick`` uses a million ids and fewer rounds. ``--peers`` adds FBGEMM and Keras.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
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
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], 1))


def torch_step(case: str, rows: Callable[[int], Any], update: Callable[[], None], ids: int) -> Step:
    """A plain eager step over ``rows(i) -> [BATCH, SLOTS * DIM]``, AdamW on the dense part, ``update`` for the rows."""
    import torch

    _, dense, labels = batches(ids)
    net = mlp()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    xs, ys = torch.from_numpy(dense), torch.from_numpy(labels)
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits

    def step(i: int) -> None:
        k = i % BATCHES
        optimizer.zero_grad()
        x = torch.cat([rows(k), xs[k]], dim=1)
        with torch.autocast("cpu", torch.bfloat16, enabled=case == "bf16"):
            logits = net(x)
        loss_of(logits.float(), ys[k]).backward()
        optimizer.step()
        update()

    return step


def ceiling(case: str, ids: int) -> tuple[str, Step]:
    """The dense work alone: random rows that ask for their gradient, as looked-up rows do."""
    import torch

    pool = [torch.randn(BATCH, SLOTS * DIM, requires_grad=True) for _ in range(4)]

    def rows(k: int) -> Any:
        pool[k % 4].grad = None
        return pool[k % 4]

    return "ceiling", torch_step(case, rows, lambda: None, ids)


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
    """FBGEMM's fused table-batched embeddings on CPU (what torchrec trains with), exact row-wise Adagrad."""
    import torch
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    ranks, _, _ = batches(ids)
    tables = SplitTableBatchedEmbeddingBagsCodegen(
        [(ids // SLOTS, DIM, EmbeddingLocation.HOST, ComputeDevice.CPU)] * SLOTS,
        optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        learning_rate=LR,
    )
    tables.init_embedding_weights_uniform(-0.05, 0.05)
    offsets = torch.arange(SLOTS * BATCH + 1)
    index = torch.from_numpy(ranks.reshape(BATCHES, -1))
    from importlib.metadata import version

    return (
        f"fbgemm {version('fbgemm-gpu-cpu')} TBE",
        torch_step(case, lambda k: tables(index[k], offsets), lambda: None, ids),
    )


def keras(case: str, ids: int) -> tuple[str, Step]:
    """Keras 3 on TensorFlow: one static Embedding for all slots, compiled step, Adagrad for rows, Adam for the rest."""
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
    net_optimizer, row_optimizer = k3.optimizers.AdamW(1e-3), k3.optimizers.Adagrad(LR)
    net_optimizer.build(net.trainable_variables)
    row_optimizer.build([table])
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
