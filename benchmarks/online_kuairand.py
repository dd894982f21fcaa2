"""What learning online is worth on KuaiRand: the model that learns, the one that was frozen, boosted trees; over several seeds.

Each seed's run is trained to two days before the test and replayed to its end, through the whole loop: every sample of the
test (the last two days, unless told otherwise) is scored before it is learned from, by the model as it is then. Differences
have an interval: 95% of a bootstrap over users, the same drawn for both sides, of the mean over seeds. ``--quick`` runs one
seed. The trees are fitted here, on all days before the test, so two more than the frozen model saw; they read static columns
and the running rates of user, video and author.
"""

import argparse
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import absent, emit
from numpy.typing import NDArray
from rich.console import Console

from larix.data import Files
from larix.data.log import DiskLog
from larix.data.unjoin import key_of
from larix.recipes import carry_out, open_feed
from larix.recipes.replay import Place, replay
from larix.recipes.replay.days import Measured

BENCH = "online_kuairand"
TASKS = ("is_click", "long_view")
TREES = "boosted trees, running rates"
DRAWS = 1000
_NAMES = ("online", "frozen")
_OWNERS, _OUTCOMES = ("user", "video", "author"), ("clicked", "long_viewed")
_PLAIN = (
    "tab", "hourmin", "duration_ms", "video_age_days", "register_days", "follow_user_num", "fans_user_num",
    "friend_user_num", "is_lowactive_period", "is_live_streamer", "is_video_author",
    *(f"onehot_feat{at}" for at in range(18)),
)  # fmt: skip
_WORDS = ("user_active_degree", "video_type", "upload_type")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of one model for the samples of the test days: ``auc`` and ``gauc`` with users counted ``[draws, users]`` times."""

    scores: Floats
    labels: Floats
    users: NDArray[np.int64]

    def auc(self, counts: Floats) -> Floats:
        """The AUC of each draw; ties count half."""
        _, at = np.unique(self.scores, return_inverse=True)
        found = []
        for each in counts:
            weight = each[self.users]
            won = np.bincount(at, weight * (self.labels > 0))
            lost = np.bincount(at, weight * (self.labels <= 0))
            found.append(won @ (np.cumsum(lost) - lost / 2) / (won.sum() * lost.sum()))
        return np.array(found)

    def gauc(self, counts: Floats) -> Floats:
        """The GAUC of each draw: AUCs of users with both outcomes, by their impressions."""
        sums, sizes = np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
        order = np.argsort(self.users, kind="stable")
        users, begins = np.unique(self.users[order], return_index=True)
        for user, rows in zip(users, np.split(order, begins[1:]), strict=True):
            labels, scores = self.labels[rows] > 0, self.scores[rows]
            if labels.any() and not labels.all():
                above = np.sign(scores[labels][:, None] - scores[~labels][None, :])
                sums[user], sizes[user] = len(rows) * (above.mean() + 1) / 2, len(rows)
        found: Floats = (counts @ sums) / (counts @ sizes)
        return found


def tests(run: Path, data: Files) -> pa.Table:
    """The rows that the replay's tests left of the test days, by key."""
    place = Place.of(run)
    with DiskLog(place.log) as log, log.consumer("tested") as consumer:
        rows = pa.Table.from_batches([events.rows for events in consumer.drain()])
    return rows.filter(pa.array(Measured(data, place.told())(rows))).sort_by("key")


def trees(data: Files, first: str, last: str) -> dict[str, dict[str, float]]:
    """By task the trees' logits, by key, of the days from ``first`` to ``last``; trained on all before."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    sides = []
    before = (date.fromisoformat(first) - timedelta(days=1)).isoformat()
    for files in (data.between(None, before), data.between(first, last)):
        names = [*_PLAIN, *_WORDS, "user_id", "video_id", "time_ms", *TASKS]
        names += [f"{owner}_{what}" for owner in _OWNERS for what in ("shown", *_OUTCOMES)]
        with files.stream(columns=names, batch_size=1 << 16) as stream:
            sides.append(pa.Table.from_batches([*stream]))
    codes = {name: pa.concat_tables(sides)[name].unique().to_pylist() for name in _WORDS}
    (known, _), (asked, keys) = (_features(side, codes) for side in sides)
    found = {}
    for task in TASKS:
        model = HistGradientBoostingClassifier(max_iter=150, early_stopping=False, random_state=0)
        model.fit(known, sides[0][task].to_numpy())
        found[task] = dict(zip(keys, model.decision_function(asked).tolist(), strict=True))
    return found


def _features(side: pa.Table, codes: dict[str, list[str]]) -> tuple[Floats, list[str]]:
    columns = [side[name].cast(pa.float64()).to_numpy() for name in _PLAIN]
    for name, values in codes.items():
        columns.append(np.array([values.index(each) for each in side[name].to_pylist()], np.float64))
    for owner in _OWNERS:
        shown = side[f"{owner}_shown"].to_numpy().astype(np.float64)
        columns.append(shown)
        with np.errstate(invalid="ignore"):
            columns += [
                side[f"{owner}_{what}"].to_numpy() / np.where(shown, shown, np.nan) for what in _OUTCOMES
            ]
    keys = key_of(side.combine_chunks().to_batches()[0], ("user_id", "video_id", "time_ms"))
    return np.stack(columns, axis=1), keys.to_pylist()


def measured(
    given: argparse.Namespace, folder: Path, seed: int
) -> tuple[pa.Table, dict, Files, tuple[str, str]]:
    """Train a seed's run, replay it; what its tests left, what it came to, the samples, and the test's days."""
    days = {
        "data": given.data,
        "train_to": given.train_to,
        "test_from": given.test_from,
        "test_to": given.test_to,
    }
    words = [f"{key}={value}" for key, value in days.items() if value]
    words += [f"seed={seed}", *([] if given.train_to else ["gap=2"]), *(given.set or [])]
    console = Console(stderr=True)
    carry_out("kuairand", words, folder / f"seed-{seed}", console)
    found = replay(folder / f"seed-{seed}", console, speed=None)
    data = open_feed(folder / f"seed-{seed}", console).whole
    assert data is not None
    return tests(folder / f"seed-{seed}", data), found, data, tuple(found["measured"])


def report(sides: dict[str, list[dict[str, Scored]]], counts: Floats, seeds: list[int], about: dict) -> None:
    """A line a model, task and metric; then the differences of the online model to the others."""
    once = np.ones((1, counts.shape[1]))
    for task in TASKS:
        for metric in ("auc", "gauc"):
            draws = {}
            for name, runs in sides.items():
                values = [float(getattr(run[task], metric)(once)[0]) for run in runs]
                draws[name] = np.mean([getattr(run[task], metric)(counts) for run in runs], axis=0)
                more = {"mean": round(float(np.mean(values)), 6), "seeds": [] if name == TREES else seeds}
                emit(BENCH, name, task, metric, values, "", **more, **about)
                if name == "online":
                    ours = values
                    continue
                theirs = values * (len(ours) // len(values))  # the trees have one seed
                by = [one - other for one, other in zip(ours, theirs, strict=True)]
                low, high = np.quantile(draws["online"] - draws[name], [0.025, 0.975])
                more = {"mean": round(float(np.mean(by)), 6), "low": round(low, 6), "high": round(high, 6)}
                emit(BENCH, f"online less {name}", task, metric, by, "", **more, seeds=seeds, **about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--peers", action="store_true", help="none to install: the trees come with the tests")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--data", help="the folder; by default the slice beside the checkout, else a synthetic feed"
    )
    parser.add_argument("--train-to", metavar="DAY", help="by default the third day before the test")
    parser.add_argument("--test-from", metavar="DAY")
    parser.add_argument("--test-to", metavar="DAY")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="a setting of the recipe")
    given = parser.parse_args()
    seeds = list(range(1 if given.quick else given.seeds))
    runs, fresh = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            rows, found, data, days = measured(given, Path(folder), seed)
            runs.append(rows)
            fresh.append(found["new_items"])
        sides: dict[str, list[dict[str, Scored]]] = {name: [] for name in _NAMES}
        users = np.unique(runs[0]["group"].to_numpy(), return_inverse=True)[1]
        labels = {task: runs[0][f"label.{task}"].to_numpy() for task in TASKS}
        for rows in runs:
            assert rows["key"].equals(runs[0]["key"]), "seeds were tested on other samples"
            for name in _NAMES:
                of = {task: rows[f"{name}.{task}"].to_numpy().astype(np.float64) for task in TASKS}
                sides[name].append({task: Scored(of[task], labels[task], users) for task in TASKS})
        try:
            fitted = trees(data, *days)
        except ImportError as error:
            absent(BENCH, TREES, str(error))
        else:
            keys = runs[0]["key"].to_pylist()
            of = {task: np.array([fitted[task][key] for key in keys]) for task in TASKS}
            sides[TREES] = [{task: Scored(of[task], labels[task], users) for task in TASKS}]
    many = int(users.max()) + 1
    drawn = np.random.default_rng(0)
    counts = np.stack([np.bincount(drawn.integers(0, many, many), minlength=many) for _ in range(DRAWS)])
    about = {"days": list(days), "samples": len(users), "users": many}
    report(sides, counts.astype(np.float64), seeds, about)
    for task in TASKS:
        for name in _NAMES:
            values = [each[name][task]["auc"] for each in fresh]
            if None not in values:
                more = {"seeds": seeds, "samples": fresh[0]["samples"]}
                emit(BENCH, name, f"{task}, new items", "auc", values, "", **more)


if __name__ == "__main__":
    main()
