"""Trains the small feed in a process of its own: ``trainer.py DATA RUN '{"steps": 40}'``."""

import json
import sys
from functools import partial

import problem
import torch
from rich.console import Console

from larix import data, train
from larix.errors import LarixError


def fit(source, folder, resume=False, store=None, dropout=0.1, lr=1e-2, console=None, **settings):
    """What every test of whole runs trains."""
    declared = problem.sample()
    return train.fit(
        declared,
        problem.ranker(declared, dropout=dropout),
        source,
        dense=partial(torch.optim.AdamW, lr=lr),
        settings=train.Settings(**{"batch_size": 64, "shuffle": 512, "seed": 5} | settings),
        folder=folder,
        resume=resume,
        console=console,
        **({} if store is None else {"store": store}),
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    try:
        fit(
            data.files(sys.argv[1]),
            sys.argv[2],
            resume=True,
            console=Console(),
            **json.loads(sys.argv[3]),
        )
    except KeyboardInterrupt as stopped:
        print(stopped)
        sys.exit(130)
    except LarixError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(2)
