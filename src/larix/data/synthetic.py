"""A synthetic feed in the files of KuaiRand, from a stated model whose true probabilities are written
beside the labels.

Knows nothing of how the files are prepared or learned from.
"""

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from larix.data.synthetic_world import (
    Floats,
    Ints,
    Users,
    Videos,
    affinity,
    make_users,
    make_videos,
    user_table,
    video_table,
)
from larix.data.write import replacing
from larix.errors import ConfigError

RATES = {
    "is_click": 0.44, "long_view": 0.31, "is_like": 0.017, "is_profile_enter": 0.018, "is_follow": 0.0013,
    "is_comment": 0.0025, "is_forward": 0.0008, "is_hate": 0.0009,
}  # fmt: skip
MARK = "synthetic.json"  # the file that says a folder was simulated, and how
_VERSION = 1
_WARM_UP = 3  # days before the first that only fill `user_sequences`
_CANDIDATES = 12
_SPREAD = 0.5  # of log play time, logistic
_LONG = 18.0  # seconds
_DAY_MS = 86_400_000
_SCENES = {1: 0.778, 0: 0.091, 4: 0.061, 2: 0.030, 6: 0.027, 8: 0.005, 12: 0.003, 3: 0.0025, 5: 0.0025}
_SCENE_CLICK = {1: 0.2, 0: -0.6, 4: -0.3, 2: 0.4, 6: -0.9, 8: 0.0, 12: 0.5, 3: -0.5, 5: 0.3}
_SCENE_PROFILE = {1: 0.2, 0: -0.8, 4: -0.5, 2: 0.6, 6: -1.0, 8: 0.0, 12: 0.0, 3: 0.3, 5: -0.3}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Shown:
    """Impressions ``[n]``, user by user, in order of time; ``start`` of the session, ms of the day."""

    user: Ints
    day: Ints
    video: Ints
    scene: Ints
    start: Ints
    opens: NDArray[np.bool_]  # the first of its session
    fatigue: Floats


def write(
    folder: Path | str,
    *,
    seed: int = 0,
    users: int = 6000,
    items: int = 3000,
    new_items: int = 150,
    days: int = 12,
    impressions: int = 180_000,
    first_day: date | str = "2022-04-25",
) -> Path:
    """Write a feed to ``folder`` in the files of the KuaiRand slice, and its arguments beside them; return
    the folder.

    The same arguments give the same files; where they are there already, nothing is done.
    The log has a column ``p_LABEL`` for each label: the probability it was drawn with, given all latent
    traits. Nothing can rank better in expectation, so its AUC is the ceiling of any model's. The model, all
    draws independent:

    - **Users** u have interest x(u, d, t) in 16 topics t, standard normal: 0.85 of it lasts, 0.53 drifts
      from day d to day d+1 (correlation 0.9); a click bias b ~ N(0, 0.5), a liking l ~ N(0, 0.8), a
      curiosity c ~ N(0, 0.6), and an activity ~ Gamma(1.5) that ``impressions`` are spread by, day by day
      (Poisson).
    - **Videos** v have an author, a main topic (in 7 of 10 the author's) and, half of them, a second one;
      quality q ~ N(0, 0.4), the author's appeal e ~ N(0, 0.7), a length (log-normal, median 60 s).
      ``items`` are there before, ``new_items`` come every day. Affinity a(u, d, v) = (x[main] + 0.4
      x[second]) / 1.08, or x[main].
    - **Exposure**: sessions of one scene each. 1 impression in 5 is a random video of those there; else the
      best of 12, drawn by exp(0.8 q) * (0.5 + exp(-age/5 days)), by 0.8 a + 0.5 q + Gumbel noise.
    - **Labels**, sigma the logistic function, constants k such that the mean rates are `RATES`: P(click) =
      sigma(k + a + q + scene + 0.2 cos(hour) + b - 0.35 f), f = how many of the user's last 4 impressions
      had the same main topic. log play time [s] = k + 0.35 a + 0.3 q + 0.15 log(length / 60 s) - 2 [no
      click] + 0.5 Logistic; long view = play time of at least 18 s, or all of a shorter video. Given a
      click: P(like) = sigma(k + 0.9 a + 0.4 q + l); P(profile) = sigma(k + 0.4 a + e + c + scene);
      P(follow), P(comment), P(forward) with 0.5 a + e. P(hate) = sigma(k - a).

    Args:
        folder: to make; one made before with other arguments is replaced.
        seed: of all draws.
        users: how many.
        items: videos that are there before the first day.
        new_items: videos that come each day.
        days: days of the log. Three days before them fill ``user_sequences``.
        impressions: expected rows of the log.
        first_day: of the log.

    Raises:
        ConfigError: an argument is not positive, or ``folder`` holds something else.
        StorageError: there is no space.
    """
    for name, value in (("users", users), ("items", items), ("days", days), ("impressions", impressions)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    if seed < 0 or new_items < 0:
        raise ConfigError(f"seed and new_items must not be negative, got {seed} and {new_items}")
    folder = Path(folder)
    said = json.dumps(
        {
            "seed": seed,
            "users": users,
            "items": items,
            "new_items": new_items,
            "days": days,
            "impressions": impressions,
            "first_day": str(first_day),
            "version": _VERSION,
        },
        indent=1,
    )
    if (folder / MARK).is_file() and (folder / MARK).read_text() == said:
        return folder
    begin = date.fromisoformat(first_day) if isinstance(first_day, str) else first_day
    rng = np.random.default_rng(seed)
    people = make_users(rng, users, _WARM_UP + days)
    # Day 0 of the simulation is the first warm-up day; the log begins with day 3.
    videos = make_videos(rng, items, new_items, _WARM_UP + days)
    shown = _exposed(rng, people, videos, impressions / days)
    log = _log(rng, people, videos, shown, begin - timedelta(days=_WARM_UP))
    warm = log["time_ms"].to_numpy() < _midnight(begin)
    last = begin + timedelta(days=days - 1)
    tables = {
        f"log_standard_{begin:%Y-%m-%d}_{last:%m-%d}": log.filter(pa.array(~warm)),
        "user_features": user_table(rng, people),
        "video_features_basic": video_table(rng, videos, begin - timedelta(days=_WARM_UP)),
        "user_sequences": _sequences(log.filter(pa.array(warm))),
    }
    with replacing(folder, mark=MARK) as fresh:
        for name, table in tables.items():
            pq.write_table(table, fresh / f"{name}.parquet", compression="zstd", write_page_checksum=True)
        (fresh / MARK).write_text(said)
    return folder


def _exposed(rng: np.random.Generator, users: Users, videos: Videos, per_day: float) -> _Shown:
    """Decide who is shown what, session by session; every user's n-th impressions are drawn together."""
    days = users.interest.shape[1]
    counts = rng.poisson(np.outer(users.rate, np.full(days, per_day)) / users.rate.sum())
    user = np.repeat(np.arange(len(users.rate)), counts.sum(axis=1))
    day = np.repeat(np.tile(np.arange(days), len(users.rate)), counts.ravel())
    first = np.repeat(np.cumsum(counts.ravel()) - counts.ravel(), counts.ravel())
    opens = (np.arange(len(user)) == first) | (rng.random(len(user)) < 0.15)
    session = np.cumsum(opens) - 1
    hours = np.clip(rng.normal(15.5, 4.5, len(user)), 0, 23.5)
    # A day's sessions in order: their starts are sorted among themselves.
    openings = np.flatnonzero(opens)
    order = np.lexsort((hours[openings], day[openings], user[openings]))
    start = (hours[openings][order] * 3_600_000).astype(np.int64)[session]
    scenes = np.array(list(_SCENES))
    scene = rng.choice(scenes, len(openings), p=np.array(list(_SCENES.values())) / sum(_SCENES.values()))[
        session
    ]

    video = np.zeros(len(user), dtype=np.int64)
    fatigue = np.zeros(len(user))
    cumulative = [_chances(videos, at) for at in range(days)]
    begins = np.concatenate([[0], np.cumsum(counts.sum(axis=1))])[:-1]
    lengths = counts.sum(axis=1)
    recent = np.full((len(users.rate), 4), -1)
    for step in range(int(lengths.max())):
        active = np.flatnonzero(lengths > step)
        rows = begins[active] + step
        chosen = _chosen(rng, users, videos, active, day[rows], cumulative)
        topic = videos.topic[chosen]
        video[rows] = chosen
        fatigue[rows] = (recent[active] == topic[:, None]).sum(axis=1)
        recent[active, step % 4] = topic
    return _Shown(user=user, day=day, video=video, scene=scene, start=start, opens=opens, fatigue=fatigue)


def _chances(videos: Videos, day: int) -> Floats:
    """Cumulative chances of the videos to be a candidate on a day; those not born yet have none."""
    age = day - videos.born
    weight = np.where(age >= 0, np.exp(0.8 * videos.quality) * (0.5 + np.exp(-np.maximum(age, 0) / 5)), 0.0)
    total = np.cumsum(weight)
    shares: Floats = total / total[-1]
    return shares


def _chosen(
    rng: np.random.Generator, users: Users, videos: Videos, active: Ints, day: Ints, cumulative: list[Floats]
) -> Ints:
    """The video that each active user is shown on its day."""
    draws = rng.random((len(active), _CANDIDATES))
    candidates = np.zeros((len(active), _CANDIDATES), dtype=np.int64)
    for at in np.unique(day).tolist():
        here = day == at
        candidates[here] = np.searchsorted(cumulative[at], draws[here], side="right")
    interest = np.repeat(users.interest[active, day], _CANDIDATES, axis=0)
    flat = candidates.ravel()
    score = 0.8 * affinity(interest, videos.topic[flat], videos.second[flat]) + 0.5 * videos.quality[flat]
    score = score.reshape(candidates.shape) + rng.gumbel(size=candidates.shape)
    best = candidates[np.arange(len(active)), score.argmax(axis=1)]
    there = np.searchsorted(
        videos.born, day, side="right"
    )  # videos are in the order of their birth from day 0 on
    return np.where(rng.random(len(active)) < 0.2, (rng.random(len(active)) * there).astype(np.int64), best)


def _log(rng: np.random.Generator, users: Users, videos: Videos, shown: _Shown, day_zero: date) -> pa.Table:
    """Draw what users did, and when: the log, sorted by time."""
    user, video = shown.user, shown.video
    suits = affinity(users.interest[user, shown.day], videos.topic[video], videos.second[video])
    quality, appeal, seconds = videos.quality[video], videos.appeal[video], videos.seconds[video]
    hour = shown.start / 3_600_000
    click_logit = (
        suits + quality + _by_scene(_SCENE_CLICK, shown.scene) + 0.2 * np.cos(hour / 24 * 2 * np.pi)
        + users.bias[user] - 0.35 * shown.fatigue
    )  # fmt: skip
    one = np.ones(len(user))
    true = {"is_click": _sigmoid(click_logit + _constant(click_logit, one, RATES["is_click"]))}
    p_click = true["is_click"]
    curiosity = users.curiosity[user] + _by_scene(_SCENE_PROFILE, shown.scene)
    wish = 0.5 * suits + appeal
    given_click = {
        "is_like": 0.9 * suits + 0.4 * quality + users.liking[user],
        "is_profile_enter": 0.4 * suits + appeal + curiosity,
        "is_follow": wish,
        "is_comment": wish,
        "is_forward": wish,
    }
    chance = {
        name: _sigmoid(logit + _constant(logit, p_click, RATES[name])) for name, logit in given_click.items()
    }
    true |= {name: p_click * p for name, p in chance.items()}
    true["is_hate"] = _sigmoid(_constant(-suits, one, RATES["is_hate"]) - suits)

    centre = 0.35 * suits + 0.3 * quality + 0.15 * np.log(seconds / 60)
    needed = np.floor(np.minimum(seconds, _LONG) * 1000) / 1000
    logits = [(centre - np.log(needed) - without) / _SPREAD for without in (0.0, 2.0)]
    both = np.concatenate(logits)
    shift = _constant(both, np.concatenate([p_click, 1 - p_click]), RATES["long_view"] / 2)
    true["long_view"] = p_click * _sigmoid(logits[0] + shift) + (1 - p_click) * _sigmoid(logits[1] + shift)

    click = rng.random(len(user)) < p_click
    done = {"is_click": click}
    done |= {name: click & (rng.random(len(user)) < p) for name, p in chance.items()}
    done["is_hate"] = rng.random(len(user)) < true["is_hate"]
    log_seconds = centre + shift * _SPREAD - 2.0 * ~click + _SPREAD * rng.logistic(size=len(user))
    play_ms = np.floor(np.exp(np.minimum(log_seconds, np.log(900))) * 1000).astype(np.int64)
    done["long_view"] = play_ms >= np.floor(needed * 1000)

    time = _times(rng, shown, play_ms)
    kept = time < _DAY_MS  # what would come after midnight is not shown
    days = [day_zero + timedelta(days=at) for at in range(users.interest.shape[1])]
    dates = np.array([int(f"{day:%Y%m%d}") for day in days])
    columns = {
        "user_id": user,
        "video_id": video,
        "date": dates[shown.day],
        "hourmin": (time // 3_600_000 * 100).astype(np.int32),
        "time_ms": _midnight(day_zero) + shown.day * _DAY_MS + time,
        **{name: flag.astype(np.int64) for name, flag in done.items()},
        "play_time_ms": play_ms,
        "duration_ms": np.where(videos.known_length[video], np.floor(seconds * 1000), 0).astype(np.int64),
        "profile_stay_time": np.where(done["is_profile_enter"], rng.integers(1000, 60_000, len(user)), 0),
        "comment_stay_time": np.where(done["is_comment"], rng.integers(1000, 60_000, len(user)), 0),
        "is_rand": np.zeros(len(user), dtype=np.int64),
        "tab": shown.scene,
        **{f"p_{name}": true[name] for name in RATES},
    }
    order = np.flatnonzero(kept)
    order = order[np.argsort(columns["time_ms"][order], kind="stable")]
    return pa.table({name: values[order] for name, values in columns.items()})


def _times(rng: np.random.Generator, shown: _Shown, play_ms: Ints) -> Ints:
    """When each impression begins, ms of its day: after the one before is played, at its session or later."""
    takes = play_ms + rng.integers(300, 3000, len(play_ms))
    new_day = np.ones(len(takes), dtype=bool)
    new_day[1:] = (shown.user[1:] != shown.user[:-1]) | (shown.day[1:] != shown.day[:-1])
    group = np.cumsum(new_day) - 1
    before = np.cumsum(takes) - takes
    before -= before[new_day][group]
    # Less the day's play time so far, a session begins at its start or with the one before it.
    span = 2 * (_DAY_MS + int(before.max(initial=0)))
    lead = np.where(shown.opens, shown.start - before, -span // 2) + group * span
    times: Ints = np.maximum.accumulate(lead) - group * span + before
    return times


def _sequences(log: pa.Table) -> pa.Table:
    """The last 50 videos that each user watched, liked and watched long, oldest first."""
    user, video = log["user_id"].to_numpy(), log["video_id"].to_numpy()
    order = np.argsort(user, kind="stable")
    ids, starts, counts = np.unique(user[order], return_index=True, return_counts=True)
    flags = {"watch_seq": None, "like_seq": "is_like", "long_watch_seq": "long_view"}
    lists = {}
    for name, flag in flags.items():
        rows = order if flag is None else order[log[flag].to_numpy()[order] == 1]
        chosen = [video[mine][-50:].tolist() for mine in np.split(rows, np.searchsorted(user[rows], ids[1:]))]
        lists[name] = pa.array(chosen[: len(ids)], pa.list_(pa.int64()))
    last = log["time_ms"].to_numpy()[order][starts + counts - 1]
    return pa.table({"user_id": ids, "history_len": counts, "last_time_ms": last, **lists})


def _midnight(day: date) -> int:
    """The first millisecond of a day in UTC+8."""
    return (day - date(1970, 1, 1)).days * _DAY_MS - 8 * 3_600_000


def _by_scene(effects: dict[int, float], scene: Ints) -> Floats:
    table = np.zeros(max(effects) + 1)
    table[list(effects)] = list(effects.values())
    return table[scene]


def _sigmoid(logit: Floats) -> Floats:
    return 1 / (1 + np.exp(-logit))


def _constant(logit: Floats, weight: Floats, rate: float) -> float:
    """The constant k with which the mean of ``weight * sigmoid(logit + k)`` is ``rate``."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.mean(weight * _sigmoid(logit + middle)) < rate else (low, middle)
    return (low + high) / 2
