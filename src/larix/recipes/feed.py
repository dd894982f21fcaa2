"""The feed a recipe trains and tests on: KuaiRand's files or a synthetic feed, made ready and split by day.

Knows nothing of the network or of how training is set.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from larix.data import Files, kuairand, synthetic
from larix.errors import ConfigError
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

    ``simulated``: the samples carry the probabilities that their labels were drawn with. ``whole``: all samples of the log,
    those between training and test too, for a replay; None: there are no others.
    """

    train: Files
    test: Files
    whole: Files | None = None
    simulated: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)


def find(data: str | Path | None) -> Path | None:
    """The folder of a KuaiRand log: ``data`` if given, else the slice beside this checkout, else None (synthetic).

    ConfigError if ``data`` holds no log.
    """
    if data is None:
        return kuairand.find()
    if not any(Path(data).glob("log_standard_*")):
        there = "holds no log_standard_* file" if Path(data).is_dir() else "is no folder"
        raise ConfigError(f"'{data}' {there}; give a folder of KuaiRand's, or none for a synthetic feed")
    return Path(data)


def feed(
    data: str | Path | None,
    samples: Path,
    console: Console,
    *,
    train_to: str | None = None,
    test_from: str | None = None,
    test_to: str | None = None,
    gap: int = 0,
    simulate: Mapping[str, Any] | None = None,
) -> Feed:
    """The feed in ``data`` (see ``find``), its samples written to a folder below ``samples`` once and found again.

    Days are inclusive ISO dates, see ``split``; the last two are the test unless told otherwise. ``simulate``: arguments of
    ``data.synthetic.write``. The first line on ``console`` says which data it is.

    ConfigError for days that do not split the log; see ``data.kuairand.prepare`` for what else is raised.
    """
    found = find(data)
    simulated = found is None or (found / synthetic.MARK).is_file()
    if found is None:
        found = samples / "-".join(["synthetic", *(f"{k}{v}" for k, v in sorted((simulate or {}).items()))])
        said = f"a synthetic feed[/], simulated in {escape(str(found))} (give --data DIR for a real log)"
    else:
        said = "a synthetic feed[/], simulated" if simulated else "KuaiRand[/], a real short-video log,"
        said += f" from {escape(str(found))}"
    console.print(f"Data: [bold]{said}", highlight=False, soft_wrap=True)
    if data is None and simulated:
        with console.status("simulating users, videos and what they do"):
            synthetic.write(found, **(simulate or {}))
    # Folders of one name must not take turns in one place.
    ready = samples / f"{found.name}-{hashlib.sha256(str(found.resolve()).encode()).hexdigest()[:8]}"
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("building histories", total=None)
        source = kuairand.prepare(
            found, ready, progress=lambda done, total: progress.update(task, completed=done, total=total)
        )
    console.print(f"Samples: {source.rows:,} in {escape(str(ready))}", highlight=False, soft_wrap=True)
    card = kuairand.card(ready)
    return _parted(source, card, simulated, split(card["days"], train_to, test_from, test_to, gap))


def split(
    days: Iterable[str], train_to: str | None, test_from: str | None, test_to: str | None, gap: int = 0
) -> tuple[str, str, str]:
    """The last day to train on, the first and the last to test on, of a log of these ``days``; all ISO dates.

    What is None: the log's last day to test to; the two days up to it to test from, or all after ``train_to``; all days
    before the test to train on, but the last ``gap`` as long as one is left. ConfigError if a side has no day or the test
    is not after training.
    """
    there = sorted(days)
    held = f"the log has {there[0]} to {there[-1]}"
    if gap < 0:
        raise ConfigError(f"gap is {gap}; it is a number of days, from 0 on")
    train_to, test_from, test_to = _day(train_to), _day(test_from), _day(test_to) or there[-1]
    if test_from is None:
        after = train_to or there[0]
        later = [day for day in there if after < day <= test_to]
        if not later:
            raise ConfigError(f"there is no day after {after} and up to {test_to} to test on: {held}")
        test_from = later[0] if train_to else later[-2:][0]
    if train_to is None:
        before = [day for day in there if day < test_from]
        if not before:
            raise ConfigError(f"there is no day before {test_from} to train on: {held}")
        train_to = before[max(0, len(before) - gap - 1)]
    if not train_to < test_from:
        raise ConfigError(
            f"training to {train_to} and testing from {test_from} would test on what was trained on; test later days"
        )
    if not any(test_from <= day <= test_to for day in there):
        raise ConfigError(f"there is no day from {test_from} to {test_to} to test on: {held}")
    return train_to, test_from, test_to


def _day(given: str | None) -> str | None:
    try:
        return None if given is None else date.fromisoformat(given).isoformat()
    except (ValueError, TypeError):
        raise ConfigError(f"{given!r} is not a day; write it as 2022-05-04") from None


def _parted(source: Files, card: Mapping[str, Any], simulated: bool, days: tuple[str, str, str]) -> Feed:
    train_to, test_from, test_to = days
    train, test = source.between(None, train_to), source.between(test_from, test_to)
    there = sorted(card["days"])
    told = ("rows", "users", "videos", "authors", "repeats_dropped", "rates", "nulls")
    about: dict[str, Any] = {
        "data": {
            "name": "Synthetic feed" if simulated else "KuaiRand",
            "synthetic": simulated,
            **{key: card[key] for key in told},
            "days": [there[0], there[-1]],
            "train": {"rows": train.rows, "days": [min(there[0], train_to), train_to]},
            "test": {"rows": test.rows, "days": [test_from, test_to]},
        }
    }
    if train_to == _SLICE[1] and (published := references(about["data"], test_from, test_to)):
        about["references"] = published
    return Feed(train=train, test=test, whole=source, simulated=simulated, about=about)


def references(card: Mapping[str, Any], first: str, last: str) -> dict[str, Any]:
    """Published figures of the log that ``card`` tells of, where there are some for a test from ``first`` to ``last``."""
    if (card.get("rows"), first, last) != (_SLICE[0], *_SLICE[2:]) or card.get("synthetic", True):
        return {}
    return {
        who: {
            task: dict(zip(("auc", "gauc", "logloss"), figures, strict=True))
            for task, figures in tasks.items()
        }
        for who, tasks in _TREES.items()
    }


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
