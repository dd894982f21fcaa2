"""The README's example does what it says, on a small file of the columns that it names."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

README = Path(__file__).resolve().parents[1] / "README.md"
DAY_MS = 86_400_000
START = 1_772_323_200_000  # 2026-03-01 in UTC


def example() -> str:
    (code,) = re.findall(
        r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return code


def write_logs(folder: Path, rows: int = 8000) -> pa.Table:
    """Clicks depend on the item; ids have 64 bits, or are text."""
    rng = np.random.default_rng(0)
    appeal = rng.normal(size=100)
    item = rng.integers(0, 100, rows)
    lengths = rng.integers(0, 30, rows)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    past = rng.integers(0, 100, lengths.sum())
    click = rng.random(rows) < 1 / (1 + np.exp(-2 * appeal[item]))
    table = pa.table(
        {
            "user_id": [f"user {n}" for n in rng.integers(0, 50, rows)],
            "item_id": item * 2**56,
            "tags": pa.ListArray.from_arrays(offsets, pa.array(past % 9)),
            "price": rng.random(rows) * 100,
            "hist_item_id": pa.ListArray.from_arrays(offsets, pa.array(past * 2**56)),
            "time_ms": np.sort(START + rng.integers(0, 7 * DAY_MS, rows)),
            "is_click": click,
            "play_time_ms": (click * rng.exponential(20_000, rows)).astype(np.int64),
        }
    )
    folder.mkdir()
    pq.write_table(table, folder / "all.parquet")
    return table


def test_the_example_is_about_thirty_lines():
    assert 25 <= len([line for line in example().splitlines() if line.strip()]) <= 35


def test_the_example_trains_on_a_parquet_file_and_leaves_what_it_says(tmp_path, monkeypatch, capsys):
    table = write_logs(tmp_path / "logs")
    monkeypatch.chdir(tmp_path)
    exec(compile(example(), str(README), "exec"), {"__name__": "example"})
    report = Path(capsys.readouterr().out.strip())
    assert report == Path("runs/mine/report.html")
    assert "<svg" in report.read_text(encoding="utf-8")
    metrics = json.loads(Path("runs/mine/metrics.json").read_text(encoding="utf-8"))
    last_day = table["time_ms"].to_numpy() >= START + 6 * DAY_MS
    assert metrics["test"]["samples"] == last_day.sum()
    assert metrics["test"]["tasks"]["is_click"]["auc"] > 0.75
    assert metrics["test"]["tasks"]["play_time_ms"]["xauc"] > 0.6
    assert metrics["steps"][-1]["samples"] == 2 * (~last_day).sum()
    scores = pq.read_table("scores.parquet")
    assert scores["time_ms"].to_pylist() == table["time_ms"].filter(pa.array(last_day)).to_pylist()
    assert ((scores["is_click"].to_numpy() > 0) & (scores["is_click"].to_numpy() < 1)).all()
