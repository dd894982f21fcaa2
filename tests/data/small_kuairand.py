"""Small KuaiRand folders, as published and as Parquet."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

LABELS = (
    "is_click",
    "long_view",
    "is_like",
    "is_follow",
    "is_comment",
    "is_forward",
    "is_hate",
    "is_profile_enter",
)
START = 1_650_816_000_000  # 2022-04-25 00:00 in UTC+8


def log_of(rows: list[dict[str, int]]) -> pa.Table:
    """A log with the columns of KuaiRand; each row needs only what a test is about."""
    columns = [
        "user_id",
        "video_id",
        "date",
        "hourmin",
        "time_ms",
        *LABELS,
        "play_time_ms",
        "duration_ms",
        "tab",
    ]
    defaults = {"date": 20220425, "time_ms": START, "duration_ms": 10_000}
    return pa.table(
        {
            name: pa.array([row.get(name, defaults.get(name, 0)) for row in rows], pa.int64())
            for name in columns
        }
    )


def random_log(
    rng: np.random.Generator, rows: int, users: int = 5, videos: int = 8, times: int = 40
) -> pa.Table:
    """Few users, videos and times, so that ties and exact repeats are many; not sorted by time."""
    made = {
        "user_id": rng.integers(0, users, rows),
        "video_id": rng.integers(0, videos, rows),
        "time_ms": START + rng.integers(0, times, rows) * 3_600_000,
        "hourmin": rng.integers(0, 24, rows) * 100,
        **{name: rng.integers(0, 2, rows) for name in LABELS},
        "play_time_ms": rng.integers(0, 50_000, rows),
        "duration_ms": rng.integers(5_000, 60_000, rows),
        "tab": rng.integers(0, 15, rows),
    }
    made["date"] = 20220425 + (made["time_ms"] - START) // 86_400_000
    return pa.table({name: pa.array(values, pa.int64()) for name, values in made.items()})


def write_folder(
    folder: Path, log: pa.Table, *, videos: int = 8, sequences: pa.Table | None = None, csv: bool = False
):
    """Write ``log`` with features of all users and of all videos but the last one, which stays unknown."""
    folder.mkdir(parents=True, exist_ok=True)
    users = np.unique(log["user_id"].to_numpy())
    known = videos - 1
    user_features = pa.table(
        {
            "user_id": users,
            "user_active_degree": [f"degree{user % 3}" for user in users],
            "follow_user_num": users * 2,
            "onehot_feat4": pa.array([float(user) if user % 2 else None for user in users], pa.float64()),
        }
    )
    video_features = pa.table(
        {
            "video_id": np.arange(known)[::-1],
            "author_id": [1000 + video % 3 for video in reversed(range(known))],
            "upload_dt": [f"2022-04-{1 + video:02}" for video in reversed(range(known))],
            "video_duration": pa.array([float(video) if video else None for video in reversed(range(known))]),
            "tag": [
                None if video % 4 == 0 else ",".join(map(str, tags_of(video)))
                for video in reversed(range(known))
            ],
        }
    )
    tables = {
        "log_standard_4_22_to_5_08": log,
        "user_features": user_features,
        "video_features_basic": video_features,
    }
    for name, table in tables.items():
        if csv:
            pcsv.write_csv(table, folder / f"{name}_pure.csv")
        else:
            pq.write_table(table, folder / f"{name}.parquet")
    if sequences is not None:
        pq.write_table(sequences, folder / "user_sequences.parquet")
    return folder


def tags_of(video: int) -> list[int]:
    return [] if video % 4 == 0 else [video * 10 + at for at in range(video % 4)]
