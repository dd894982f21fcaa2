"""A small feed that can be learned, with every kind of slot: files, sample and ranker for the tests."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from larix import data
from larix import features as fx

DAY_MS = 86_400_000


def write(folder, rows=3000, seed=0, unknown=0.1):
    """Write two files; clicks depend on user and video, play time on the video, some labels are not known."""
    rng = np.random.default_rng(seed)
    users, videos = rng.normal(size=40), rng.normal(size=60)
    user, video = rng.integers(0, 40, rows), rng.integers(0, 60, rows)
    clicked = rng.random(rows) < 1 / (1 + np.exp(-2 * (users[user] + videos[video])))
    play = 1000 * np.exp(videos[video] + 0.1 * rng.normal(size=rows)) * 5
    lengths = rng.integers(0, 6, rows)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    past, total = rng.integers(0, 60, lengths.sum()), int(lengths.sum())
    time = np.sort(rng.integers(0, 2 * DAY_MS, rows))
    table = pa.table(
        {
            "user_id": user,
            "video_id": video * 2**57,  # ids of all 64 bits
            "tags": pa.ListArray.from_arrays(offsets, pa.array(past % 7)),
            "age": rng.normal(40, 10, rows),
            "hist_video": pa.ListArray.from_arrays(offsets, pa.array(past * 2**57)),
            "hist_play": pa.ListArray.from_arrays(offsets, pa.array(rng.random(total) * 1000)),
            "tab": rng.integers(0, 3, rows),
            "time_ms": time,
            "is_click": pa.array(clicked.astype(np.int8), mask=rng.random(rows) < unknown),
            "play_ms": pa.array(play.astype(np.int64)),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    half = rows // 2
    pq.write_table(table.slice(0, half), folder / "a.parquet", row_group_size=256)
    pq.write_table(table.slice(half), folder / "b.parquet", row_group_size=256)
    return data.files(folder)


def sample(dim=8):
    return fx.Sample(
        user=fx.Id("user_id", dim=dim),
        video=fx.Id("video_id", dim=dim),
        tags=fx.Ids("tags", dim=4, pool="mean"),
        age=fx.Dense("age", standardise=True),
        history=fx.Sequence(video="hist_video", play=fx.Dense("hist_play", transform="log1p"), newest=4),
        tasks=(fx.Binary("is_click"), fx.Seconds("play_ms")),
        group="user_id",
        scene="tab",
        time="time_ms",
    )


class Ranker(torch.nn.Module):
    """An MLP over pooled rows, dense values and the mean of the history."""

    def __init__(self, sample, dropout=0.1):
        super().__init__()
        width = sum(slot.dim for slot in sample.id_slots.values()) + len(sample.dense)
        for sequence in sample.sequences.values():
            width += sum(slot.dim for slot in sequence.ids.values()) + len(sequence.dense)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(width, 16),
            torch.nn.ReLU(),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(16, len(sample.tasks)),
        )

    def forward(self, inputs):
        parts = [inputs.pooled, inputs.dense]
        for sequence in inputs.sequences.values():
            mask = sequence.mask.unsqueeze(2).float()
            rows = torch.cat([sequence.rows, sequence.dense], dim=2)
            parts.append((rows * mask).sum(1) / mask.sum(1).clamp(min=1))
        return self.net(torch.cat(parts, dim=1))


def ranker(declared, seed=0, **settings):
    torch.manual_seed(seed)
    return Ranker(declared, **settings)
