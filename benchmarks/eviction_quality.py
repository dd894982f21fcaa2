"""What forgetting costs: a feed replayed day by day through a store that holds 30% of its rows, policy by policy.

Every batch is predicted before it is trained on, once (prequential evaluation). The figure is the AUC of those predictions,
day by day, averaged over days from the second on; the loss is that against a store without a limit, of the same seed.
``--quick``: one seed. Policies and network were chosen on KuaiRand up to 2022-05-04; the days after that are told apart.
A score here is a count that fades and in which what a history shows again weighs less than what is shown; with clicks
counted twice it says which rows are worth money, not which ones tell most.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measure import emit
from torch import Tensor, nn

from larix import features as fx
from larix.batch import Batch
from larix.data import Files, kuairand, synthetic
from larix.embedding import FeatureScore, LeastFrequent, LeastRecent, Normal, RowAdagrad, Tables, TableSpec
from larix.embedding.eviction import Eviction
from larix.embedding.plan import plan
from larix.model import Embed, Loss, LossConfig
from larix.model.inputs import Inputs
from larix.model.metrics import Metrics
from larix.train import Settings
from larix.train.step import Learner, step

SHARE = 0.3
DAY = 86_400
DIM = 16
CHOSEN_TO = "2022-05-04"
LIMITED = ("user", "video", "author", "music", "tag")  # tables that grow with the log
POLICIES: dict[str, Eviction | None] = {
    "unlimited": None,
    "LRU": LeastRecent(),
    "LFU": LeastFrequent(),
    "LFU 3 days": LeastFrequent(half_life=3.0 * DAY),
    "score": FeatureScore(show=1.0, click=1.0, sequence=0.1, half_life=3.0 * DAY),
    "score, clicks twice": FeatureScore(show=1.0, click=2.0, sequence=0.1, half_life=3.0 * DAY),
}


def sample() -> fx.Sample:
    return fx.Sample(
        user=fx.Id("user_id", dim=DIM),
        video=fx.Id("video_id", dim=DIM),
        author=fx.Id("author_id", dim=DIM),
        music=fx.Id("music_id", dim=DIM),
        tag=fx.Ids("tag", dim=DIM, pool="mean"),
        tab=fx.Id("tab", dim=DIM),
        hour=fx.Hour("time_ms", dim=DIM),
        duration=fx.Bucket("duration_ms", quantiles=32, dim=DIM),
        history=fx.Sequence(video="hist_video_id", author="hist_author_id", newest=20),
        past=fx.Sequence(video=fx.Id("past_watched", table="video"), newest=20),
        tasks=(fx.Binary("is_click"), fx.Binary("long_view")),
        group="user_id",
        time="time_ms",
    )


class Network(nn.Module):
    """An MLP over the pooled rows and the means of the sequences."""

    def __init__(self, sample: fx.Sample) -> None:
        super().__init__()
        width = DIM * (
            len(sample.id_slots) + sum(len(sequence.ids) for sequence in sample.sequences.values())
        )
        self.layers = nn.Sequential(
            nn.Linear(width, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, len(sample.tasks)),
        )

    def forward(self, inputs: Inputs) -> Tensor:
        parts = [inputs.pooled]
        for sequence in inputs.sequences.values():
            mask = sequence.mask.unsqueeze(2).float()
            parts.append((sequence.rows * mask).sum(1) / mask.sum(1).clamp(min=1))
        out: Tensor = self.layers(torch.cat(parts, dim=1))
        return out


def batches(declared: fx.Sample, source: Files, day: str, size: int) -> Iterator[tuple[int, Batch]]:
    """The batches of a day in order of time, each with the second it begins in."""
    with source.between(day, day).stream(columns=declared.columns, batch_size=size) as stream:
        for records in stream:
            yield int(records["time_ms"][0].as_py()) // 1000, declared.transform(records)


def replay(
    declared: fx.Sample,
    source: Files,
    days: list[str],
    policy: Eviction | None,
    budget: int | None,
    seed: int,
    size: int = 64,  # small, so that the rows of a batch are few beside those of the store, as in larger ones
) -> tuple[dict[str, Any], Tables]:
    """Predict and train through the days; return the AUC of each day and task, and the tables."""
    torch.manual_seed(seed)
    specs = [
        TableSpec(
            name=name,
            dim=dim,
            optimizer=RowAdagrad(lr=0.05, initial=1e-4),
            init=Normal(std=0.01),
            eviction=policy if name in LIMITED else None,
        )
        for name, dim in declared.tables.items()
    ]
    tables = Tables(specs, seed=seed, threads=1, memory_budget=budget, background=False)
    embed, network = Embed(declared, tables), Network(declared)
    settings = Settings(batch_size=size, click="is_click", seed=seed)
    learner = Learner(
        ranker=network,
        embed=embed,
        optimizer=torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0),
        loss=Loss(declared.tasks, LossConfig()),
    )
    measured: dict[str, Any] = {}
    for day in days:
        metrics = Metrics(declared.tasks)
        for now, batch in batches(declared, source, day, size):
            tables.clock = now
            with torch.inference_mode():
                scores = network(embed(batch, train=False)).numpy()
            assert batch.labels is not None
            metrics.update(scores, batch.labels, batch.weight, batch.group)
            step(learner, batch, embed(batch, train=True), settings)
        measured[day] = {task: found["auc"] for task, found in metrics.compute()["tasks"].items()}
    return measured, tables


def limit(tables: Tables) -> int:
    """Bytes of a store with room for SHARE of the rows that ``tables`` came to, of those tables that grow."""
    rows = {
        spec: round(SHARE * tables.rows(name)) if name in LIMITED else tables.rows(name)
        for name, spec in tables.specs.items()
    }
    # The planner's figure, and the 32nd that a store sets aside for pages that are not all in use.
    return plan(rows).bytes * 33 // 32


def study(subject: str, source: Files, days: list[str], seeds: list[int]) -> None:
    """Print what each policy loses, over all seeds."""
    with source.between(days[0], days[0]).stream(columns=sample().columns) as stream:
        declared = sample().fit(stream)
    spans = {
        "": [day for day in days[1:] if day <= CHOSEN_TO],
        " test": [day for day in days if day > CHOSEN_TO],
    }
    aucs: dict[tuple[str, str, str], list[float]] = {}
    shares: dict[str, list[float]] = {}
    for seed in seeds:
        budget, whole = None, 0
        for name, policy in POLICIES.items():
            found, tables = replay(declared, source, days, policy, budget, seed)
            if budget is None:
                budget, whole = limit(tables), len(tables)
            stats = tables.stats()
            assert policy is None or stats.bytes <= budget
            shares.setdefault(name, []).append(len(tables) / whole)
            for part, span in spans.items():
                for task in (task.name for task in declared.tasks):
                    mean = statistics.fmean(found[day][task] for day in span)
                    aucs.setdefault((name, part, task), []).append(mean)
    for (name, part, task), values in aucs.items():
        case = f"{subject} {name}{part}"
        more = {"seeds": seeds, "rows": round(statistics.fmean(shares[name]), 3)}
        emit("eviction_quality", "larix", case, f"{task} auc", values, "", **more)
        if name != "unlimited":
            base = aucs["unlimited", part, task]
            losses = [whole - limited for whole, limited in zip(base, values, strict=True)]
            emit("eviction_quality", "larix", case, f"{task} auc_loss", losses, "", seeds=seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--peers", action="store_true", help="none here: no other table has such policies")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--data", type=Path, help="KuaiRand's folder; by default the slice beside the checkout"
    )
    args = parser.parse_args()
    seeds = list(range(1 if args.quick else args.seeds))
    torch.set_num_threads(min(2, torch.get_num_threads()))
    with tempfile.TemporaryDirectory() as folder:
        made = synthetic.write(
            Path(folder, "synthetic"), users=20_000, items=8_000, new_items=600, impressions=300_000
        )
        feeds = {"KuaiRand": args.data or kuairand.find(), "synthetic": made}
        for subject, found in feeds.items():
            if found is None:
                continue
            source = kuairand.prepare(found, Path(folder, f"{subject} samples"))
            study(subject, source, sorted(kuairand.card(Path(folder, f"{subject} samples"))["days"]), seeds)


if __name__ == "__main__":
    main()
