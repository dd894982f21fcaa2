"""The feed a recipe trains and tests on: KuaiRand's files or a synthetic feed, made ready and split by day.

Knows nothing of the network or of how training is set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from larix.data import Files, kuairand, synthetic
from larix.errors import ConfigError, DataError
from larix.features import Sample
from larix.model.metrics import Metrics

# Boosted trees on the 12-day slice, trained to 05-04, tested on 05-05 and 05-06: (AUC, GAUC, logloss) by task.
_TREES = {
    "boosted trees, static features": {
        "is_click": (0.6919, 0.6114, 0.6195),
        "long_view": (0.6935, 0.6212, 0.5583),
        "is_like": (0.7973, 0.6019, 0.0669),
        "is_profile_enter": (0.6807, 0.6073, 0.0822),
    },
    "boosted trees, running rates": {
        "is_click": (0.7422, 0.5591, 0.5872),
        "long_view": (0.7429, 0.5781, 0.5297),
        "is_like": (0.7936, 0.5893, 0.0677),
        "is_profile_enter": (0.6864, 0.6027, 0.0818),
    },
}
_SLICE = (193_583, "2022-05-04", "2022-05-05", "2022-05-06")  # rows and days that those figures are for


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """Samples to train and to test on. ``about``: ``data`` and ``references`` of the report (see ``write_report``).

    ``simulated``: the samples carry the probabilities that their labels were drawn with.
    """

    train: Files
    test: Files
    simulated: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)


def find(data: str | Path | None) -> Path | None:
    """The folder of a KuaiRand log: ``data`` if given, else the slice beside this checkout, else None (synthetic).

    ConfigError if ``data`` holds no log.
    """
    if data is None:
        return kuairand.find()
    if not any(Path(data).glob("log_standard_*")):
        raise ConfigError(
            f"'{data}' holds no log_standard_* file; give a folder of KuaiRand's, or none for a synthetic feed"
        )
    return Path(data)


def feed(
    data: str | Path | None,
    samples: Path,
    console: Console,
    *,
    train_to: str | None = None,
    test_from: str | None = None,
    test_to: str | None = None,
    simulate: Mapping[str, Any] | None = None,
) -> Feed:
    """The feed in ``data`` (see ``find``), its samples written to a folder below ``samples`` once and found again.

    Days are inclusive ISO dates; the last two days are the test unless told otherwise. ``simulate``: arguments of
    ``data.synthetic.write``. The first line on ``console`` says which data it is.
    """
    found = find(data)
    if found is None:
        arguments = dict(simulate or {})
        found = samples / (
            "synthetic-" + "-".join(f"{k}{v}" for k, v in sorted(arguments.items()))
            if arguments
            else "synthetic"
        )
        console.print(
            f"Data: [bold]a synthetic feed[/], simulated in {found} (give --data DIR for a real log)"
        )
        if not (found / "video_features_basic.parquet").exists():
            with console.status("simulating users, videos and what they do"):
                synthetic.write(found, **arguments)
        name, real = "Synthetic feed", False
    else:
        console.print(f"Data: [bold]KuaiRand[/], a real short-video log, from {found}")
        name, real = "KuaiRand", True
    ready = samples / f"{found.name}-ready"
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("building strictly-past histories", total=None)
        source = kuairand.prepare(
            found, ready, progress=lambda done, total: progress.update(task, completed=done, total=total)
        )
    return _split(source, kuairand.card(ready), name, real, (train_to, test_from, test_to))


def _split(
    source: Files,
    card: Mapping[str, Any],
    name: str,
    real: bool,
    wanted: tuple[str | None, str | None, str | None],
) -> Feed:
    days = sorted(card["days"])
    if len(days) < 2:
        raise DataError(f"the log has {len(days)} day; training and testing need at least two")
    train_to, test_from, test_to = wanted
    test_to = test_to or days[-1]
    if test_from is None:
        later = [day for day in days[1:] if day <= test_to and (train_to is None or day > train_to)]
        test_from = min(later[-2:], default=test_to) if train_to is None else min(later, default=test_to)
    train_to = train_to or max((day for day in days if day < test_from), default=test_from)
    if not days[0] <= train_to < test_from <= test_to:
        raise ConfigError(
            f"train to {train_to}, test {test_from} to {test_to} does not split the days {days[0]} to {days[-1]}; "
            "the test must come after training"
        )
    train, test = source.between(days[0], train_to), source.between(test_from, test_to)
    about: dict[str, Any] = {
        "data": {
            "name": name,
            "synthetic": not real,
            **{key: card[key] for key in ("rows", "users", "repeats_dropped", "rates")},
            "items": card["videos"],
            "days": [days[0], days[-1]],
            "train": {"rows": train.rows, "days": [days[0], train_to]},
            "test": {"rows": test.rows, "days": [test_from, test_to]},
        }
    }
    if (card["rows"], train_to, test_from, test_to) == _SLICE and real:
        about["references"] = {
            who: {
                task: dict(zip(("auc", "gauc", "logloss"), figures, strict=True))
                for task, figures in tasks.items()
            }
            for who, tasks in _TREES.items()
        }
    return Feed(train=train, test=test, simulated=not real, about=about)


def truth(sample: Sample, test: Files) -> dict[str, Any]:
    """Metrics of the probabilities that the labels of a synthetic feed were drawn with: no ranker can do better."""
    tasks = [task for task in sample.tasks if task.kind == "binary"]
    metrics = Metrics(tasks)
    chances = [f"p_{task.column}" for task in tasks]
    with test.stream(columns=(*sample.columns, *chances)) as stream:
        for records in stream:
            batch = sample.transform(records)
            assert batch.labels is not None
            chance = np.stack([records[name].to_numpy() for name in chances], axis=1).astype(np.float64)
            logits = np.log(chance) - np.log1p(-chance)
            labels = batch.labels[:, [sample.tasks.index(task) for task in tasks]]
            metrics.update(logits.astype(np.float32), labels, batch.weight, batch.group, batch.scene)
    return metrics.compute()
