"""Other parameter stores that do the steps of table.py, each run in an interpreter that has it: SUBJECT DIM THREADS ROWS.

Knows nothing of larix.
"""

from importlib.metadata import version
from typing import Any

import numpy as np
from table_work import (
    DISTRIBUTIONS,
    IDS,
    LR,
    SLOTS,
    Cases,
    Subject,
    gradients,
    keys,
    numbered,
    positions,
    serve,
)

REQUIREMENTS = {
    "fbgemm": (["torch==2.13.0"], ["numpy"], ["--no-deps", "fbgemm-gpu-cpu==1.8.0"]),
    "tfra": (
        [
            "tensorflow==2.16.2",
            "tf-keras==2.16.0",
        ],  # the CPU-only build lacks symbols that its operators ask for
        ["--no-deps", "tensorflow-recommenders-addons==0.8.1"],
    ),
}


def torch_bag(dim: int, threads: int, rows: int) -> tuple[str, Cases]:
    """torch.nn.EmbeddingBag(sparse=True): one array for all slots, torch's sparse Adagrad (it has no row-wise one)."""
    import torch

    torch.set_num_threads(threads)
    bag = torch.nn.EmbeddingBag(rows, dim, mode="sum", sparse=True)
    optimizer = torch.optim.Adagrad(bag.parameters(), lr=LR)
    given = torch.from_numpy(gradients(dim)).view(IDS, dim)
    cases: Cases = {}
    for distribution in DISTRIBUTIONS:
        where = numbered(positions(distribution, rows), rows).transpose(0, 2, 1).reshape(-1, IDS, 1)
        index = torch.from_numpy(np.ascontiguousarray(where))

        def lookup(first: int, count: int, index: Any = index) -> None:
            with torch.no_grad():
                for step in range(first, first + count):
                    bag(index[step])

        def train(first: int, count: int, index: Any = index) -> None:
            for step in range(first, first + count):
                bag(index[step]).backward(given)
                optimizer.step()
                optimizer.zero_grad()

        cases |= {f"lookup {distribution}": lookup, f"step {distribution}": train}
    return f"torch {torch.__version__} EmbeddingBag", cases


def fbgemm(dim: int, threads: int, rows: int) -> tuple[str, Cases]:
    """FBGEMM's fused table-batched embeddings on CPU, exact row-wise Adagrad: a static array, no hash.

    All slots share one table, as its backward pass takes over three times as long with a table for each.
    """
    import torch
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode, EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    torch.set_num_threads(threads)
    tables = SplitTableBatchedEmbeddingBagsCodegen(
        [(rows, dim, EmbeddingLocation.HOST, ComputeDevice.CPU)],
        feature_table_map=[0] * SLOTS,
        optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        learning_rate=LR,
        bounds_check_mode=BoundsCheckMode.NONE,
    )
    tables.init_embedding_weights_uniform(-0.05, 0.05)
    offsets = torch.arange(IDS + 1)
    given = torch.from_numpy(gradients(dim))
    cases: Cases = {}
    for distribution in DISTRIBUTIONS:
        index = torch.from_numpy(numbered(positions(distribution, rows), rows).reshape(-1, IDS))

        def lookup(first: int, count: int, index: Any = index) -> None:
            with torch.no_grad():
                for step in range(first, first + count):
                    tables(index[step], offsets)

        def train(first: int, count: int, index: Any = index) -> None:
            for step in range(first, first + count):
                tables(index[step], offsets).backward(given)

        cases |= {f"lookup {distribution}": lookup, f"step {distribution}": train}
    return f"fbgemm {version('fbgemm-gpu-cpu')} TBE", cases


def tfra(dim: int, threads: int, rows: int) -> tuple[str, Cases]:
    """TFRA's dynamic table by 64-bit id on CPU, one for all slots, as a TensorFlow graph; Adagrad (no row-wise one).

    Ids are made unique first: without, TFRA loses all gradients of a repeated id but one.
    """
    import tensorflow as tf
    from tensorflow_recommenders_addons import dynamic_embedding

    v1 = tf.compat.v1
    v1.disable_eager_execution()
    ids = v1.placeholder(tf.int64, [None])
    with tf.device("/CPU:0"):
        table = dynamic_embedding.get_variable(
            "rows",
            dim=dim,
            devices=["/CPU:0"],
            init_size=rows,
            initializer=v1.random_uniform_initializer(-0.05, 0.05),
        )
        vectors, trainable = dynamic_embedding.embedding_lookup_unique(table, ids, return_trainable=True)
        given = tf.constant(gradients(dim).reshape(IDS, dim))
        optimizer = dynamic_embedding.DynamicEmbeddingOptimizer(v1.train.AdagradOptimizer(LR))
        train = optimizer.minimize(vectors, var_list=[trainable], grad_loss=given[: tf.shape(ids)[0]])
        fill = table.upsert(ids, tf.random.uniform((tf.shape(ids)[0], dim), -0.05, 0.05))
    session = v1.Session(
        config=v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    )
    session.run(v1.global_variables_initializer())
    numbers = np.random.default_rng(3).permutation(rows // SLOTS * SLOTS)
    for first in range(0, len(numbers), IDS):
        some = {ids: keys(numbers[first : first + IDS])}
        session.run(fill, some)
        session.run(train, some)  # the optimizer's state too is there
    cases: Cases = {}
    for distribution in DISTRIBUTIONS:
        wanted = keys(numbered(positions(distribution, rows), rows)).reshape(-1, IDS)
        for case, operation in (("lookup", vectors.op), ("step", train)):

            def run(first: int, count: int, operation: Any = operation, wanted: Any = wanted) -> None:
                for step in range(first, first + count):
                    session.run(operation, {ids: wanted[step]})

            cases[f"{case} {distribution}"] = run
    return f"tfra {version('tensorflow-recommenders-addons')} dynamic_embedding", cases


SUBJECTS: dict[str, Subject] = {"torch": torch_bag, "fbgemm": fbgemm, "tfra": tfra}

if __name__ == "__main__":
    serve(SUBJECTS)
