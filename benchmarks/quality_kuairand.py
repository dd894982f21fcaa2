"""How well the KuaiRand recipe ranks the days after those it was trained on, over several seeds.

One line a task and metric: median, mean and spread (largest minus smallest) over seeds. ``--quick`` runs one seed.
Days are chosen by ``--train-to``, ``--test-from``, ``--test-to``; by default the last two days of the data are the test.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import emit
from rich.console import Console

from larix.recipes import carry_out

METRICS = ("auc", "gauc", "logloss", "calibration")


def words(args: argparse.Namespace, seed: int) -> list[str]:
    given = {
        "data": args.data,
        "train_to": args.train_to,
        "test_from": args.test_from,
        "test_to": args.test_to,
    }
    return [f"seed={seed}", *(f"{key}={value}" for key, value in given.items() if value), *(args.set or [])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="none here: the references are published",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--data", help="the folder; by default the slice beside the checkout, else a synthetic feed"
    )
    parser.add_argument("--train-to", metavar="DAY")
    parser.add_argument("--test-from", metavar="DAY")
    parser.add_argument("--test-to", metavar="DAY")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="a setting of the recipe")
    args = parser.parse_args()
    seeds = list(range(1 if args.quick else args.seeds))
    found: dict[tuple[str, str], list[float]] = {}
    took = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            start = time.perf_counter()
            run = carry_out("kuairand", words(args, seed), Path(folder, f"seed-{seed}"), Console(stderr=True))
            took.append(time.perf_counter() - start)
            metrics: dict[str, Any] = run.metrics
            for task, values in metrics["test"]["tasks"].items():
                for metric in METRICS if values["kind"] == "binary" else ("mae", "xauc", "calibration"):
                    found.setdefault((task, metric), []).append(values[metric])
        subject = "larix on a synthetic feed" if metrics["data"]["synthetic"] else "larix"
    for (task, metric), values in found.items():
        spread, mean = max(values) - min(values), statistics.fmean(values)
        more = {"mean": round(mean, 6), "seeds": seeds, "spread": round(spread, 6)}
        emit("quality_kuairand", subject, task, metric, values, "s" if metric == "mae" else "", **more)
    emit("quality_kuairand", subject, "all tasks", "train_and_test_s", took, "s")


if __name__ == "__main__":
    main()
