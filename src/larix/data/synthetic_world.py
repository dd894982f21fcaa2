"""Who and what a synthetic feed is made of: users with drifting interests, authors, videos that appear day
by day.

Knows nothing of impressions. The model is stated at `larix.data.synthetic.write`.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOPICS = 16
_LASTING, _DRIFTING, _KEPT = (
    0.85,
    0.53,
    0.9,
)  # shares of interest (squares sum to 1), what a day keeps of the drift
_DEGREES = ("low_active", "middle_active", "high_active", "full_active")
_ONE_HOT = (2, 7, 50, 1471, 15, 34, 3, 118, 454, 7, 5, 5, 2, 2, 2, 2, 2, 2)  # values of onehot_feat0 to 17
_UPLOADS = ("LongImport", "ShortImport", "Kmovie", "Web", "LongCamera", "ShortCamera", "PictureSet")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Users:
    """Latent traits of ``[users]``: ``interest`` is ``[users, days, topics]``, each entry standard normal."""

    interest: Floats
    bias: Floats
    liking: Floats
    curiosity: Floats
    rate: Floats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Videos:
    """Traits of ``[videos]``, by the day they are ``born`` on, from day 0 on; ``second`` may be ``topic``."""

    author: Ints
    topic: Ints
    second: Ints
    quality: Floats
    appeal: Floats
    born: Ints
    seconds: Floats
    known_length: NDArray[np.bool_]


def make_users(rng: np.random.Generator, users: int, days: int) -> Users:
    """Draw the users."""
    lasting = rng.standard_normal((users, TOPICS))
    drift = rng.standard_normal((users, TOPICS))
    interest = np.empty((users, days, TOPICS))
    for day in range(days):
        interest[:, day] = _LASTING * lasting + _DRIFTING * drift
        drift = _KEPT * drift + np.sqrt(1 - _KEPT**2) * rng.standard_normal((users, TOPICS))
    return Users(
        interest=interest,
        bias=0.5 * rng.standard_normal(users),
        liking=0.8 * rng.standard_normal(users),
        curiosity=0.6 * rng.standard_normal(users),
        rate=rng.gamma(1.5, size=users),
    )


def make_videos(rng: np.random.Generator, items: int, new_items: int, days: int) -> Videos:
    """Draw ``items`` videos born in the 20 days before day 0, and ``new_items`` on each of ``days`` days."""
    born = np.concatenate([rng.integers(-20, 0, items), np.repeat(np.arange(days), new_items)])
    count = len(born)
    authors = max(1, count // 3)
    author = np.minimum((rng.random(count) ** 2 * authors).astype(np.int64), authors - 1)  # a few post much
    at_home = rng.random(count) < 0.7
    topic = np.where(at_home, rng.integers(0, TOPICS, authors)[author], rng.integers(0, TOPICS, count))
    second = np.where(rng.random(count) < 0.5, rng.integers(0, TOPICS, count), topic)
    return Videos(
        author=author,
        topic=topic,
        second=second,
        quality=0.4 * rng.standard_normal(count),
        appeal=(0.7 * rng.standard_normal(authors))[author],
        born=born,
        seconds=np.clip(np.exp(np.log(60) + rng.standard_normal(count)), 5, 600),
        known_length=rng.random(count) > 0.02,
    )


def affinity(interest: Floats, topic: Ints, second: Ints) -> Floats:
    """How much videos suit interests ``[n, topics]``: the main topic's and 0.4 of the second's, scaled."""
    rows = np.arange(len(topic))
    both = np.where(topic == second, 0.0, 0.4)
    suits: Floats = (interest[rows, topic] + both * interest[rows, second]) / np.sqrt(1 + both**2)
    return suits


def user_table(rng: np.random.Generator, users: Users) -> pa.Table:
    """The users as KuaiRand describes them; some columns tell a latent trait with noise, most nothing."""
    count = len(users.bias)

    def level(trait: Floats, levels: int, noise: float = 1.0) -> Ints:
        ranks: Ints = np.argsort(np.argsort(trait + noise * rng.standard_normal(count)))
        return ranks * levels // count

    columns = {
        "user_id": np.arange(count),
        "user_active_degree": np.array(_DEGREES)[level(np.log(users.rate), len(_DEGREES), 0.3)],
        "is_lowactive_period": np.zeros(count, dtype=np.int64),
        "is_live_streamer": np.where(rng.random(count) < 0.77, -124, rng.integers(0, 2, count)),
        "is_video_author": rng.integers(0, 2, count),
    }
    for name, mean in (("follow", 5.0), ("fans", 4.0), ("friend", 3.0)):
        columns[f"{name}_user_num"] = np.exp(rng.normal(mean, 1.3, count)).astype(np.int64)
        columns[f"{name}_user_num_range"] = _ranges(
            columns[f"{name}_user_num"], [0, 10, 50, 100, 150, 250, 500]
        )
    columns["register_days"] = rng.integers(14, 3000, count)
    columns["register_days_range"] = _ranges(columns["register_days"], [0, 30, 60, 90, 180, 365, 730])
    told = {
        1: users.bias,
        2: users.interest[:, 0, 0],
        4: users.liking,
        7: users.interest[:, 0, 1],
        9: users.curiosity,
    }
    for at, levels in enumerate(_ONE_HOT):
        columns[f"onehot_feat{at}"] = (
            level(told[at], levels) if at in told else rng.integers(0, levels, count)
        )
    return pa.table(columns)


def video_table(rng: np.random.Generator, videos: Videos, first_day: date) -> pa.Table:
    """The videos as KuaiRand describes them: ``tag`` names the topics, 1 in 80 videos has none."""
    count = len(videos.born)
    tags = np.char.add(
        (videos.topic + 1).astype(str),
        np.where(videos.second == videos.topic, "", np.char.add(",", (videos.second + 1).astype(str))),
    )
    days = {born: (first_day + timedelta(days=born)).isoformat() for born in np.unique(videos.born).tolist()}
    wide = rng.random(count) < 0.2
    return pa.table(
        {
            "video_id": np.arange(count),
            "author_id": videos.author + 1_000_000,
            "video_type": np.where(rng.random(count) < 0.98, "NORMAL", "AD"),
            "upload_dt": [days[born] for born in videos.born.tolist()],
            "upload_type": np.array(_UPLOADS)[rng.integers(0, len(_UPLOADS), count)],
            "visible_status": np.zeros(count),
            "video_duration": pa.array(np.floor(videos.seconds * 1000), mask=~videos.known_length),
            "server_width": np.where(wide, 1280.0, 720.0),
            "server_height": np.where(wide, 720.0, 1280.0),
            "music_id": rng.integers(9_000_000_000, 9_000_000_000 + max(1, count // 2), count),
            "music_type": pa.array(rng.choice([4.0, 9.0, 11.0], count), mask=rng.random(count) < 0.03),
            "tag": pa.array(tags, mask=rng.random(count) < 1 / 80),
        }
    )


def _ranges(values: Ints, edges: list[int]) -> NDArray[np.str_]:
    names = [f"({low},{high}]" for low, high in pairwise(edges)]
    return np.array(["0", *names, f"{edges[-1]}+"])[np.searchsorted(edges, values, side="left")]
