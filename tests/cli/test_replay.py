import io
import json

import pytest
import small_feed
from rich.console import Console

from larix.cli.replay import dashboard, speed_of, summary
from larix.data.log import DiskLog
from larix.errors import ConfigError
from larix.recipes.replay import Standing


def shown(what):
    console = Console(file=io.StringIO(), width=80)
    console.print(what)
    return console.file.getvalue()


def figures(auc):
    return {"kind": "binary", "auc": auc, "gauc": auc - 0.1, "logloss": 0.6, "calibration": 1.012}


BOTH = {
    "online": {"is_click": figures(0.7512), "play_time_ms": {"kind": "regression", "mae": 1.0}},
    "frozen": {"is_click": figures(0.7498), "play_time_ms": {"kind": "regression", "mae": 2.0}},
}


def test_the_dashboard_fits_80_columns_and_shows_what_there_is():
    standing = Standing(
        event_ms=1_651_507_200_000,
        events=168_673,
        events_per_s=1_234_567.0,
        samples=62_406,
        samples_per_s=65_432.1,
        lag=1_250_000,
        answers=62_406,
        published=1_104,
        held="calibration of 'is_click' is 2.301, outside 0.5 to 2",
        alarms=[
            "skipped: batch 7 has scores that are not finite",
            "storage: the last delta is not published: disk full",
        ],
        freshness={"p50_s": 1.234, "p99_s": 12.5},
        scores={"samples": 62_406, **BOTH},
        restarts=2,
    )
    text = shown(dashboard(standing))
    for word in (
        "02 May 16:00",
        "1,234,567",
        "65,432",
        "1,250,000",
        "1.23 s",
        "12.50 s",
        "1,104",
        "0.7512",
        "0.7498",
        "1.012",
    ):
        assert word in text, word
    for word in ("outside 0.5 to 2", "batch 7", "disk full", "parts begun again: 2"):
        assert word in text, word
    assert "play_time_ms" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "–" in shown(dashboard(Standing()))


@pytest.mark.parametrize("references", [{}, {"trees": {"is_click": {"auc": 0.7422, "gauc": 0.5591}}}])
def test_the_summary_names_days_pace_and_what_each_figure_stands_beside(references):
    found = {
        "days": ["2022-05-03", "2022-05-06"],
        "measured": ["2022-05-05", "2022-05-06"],
        "events": 168_673,
        "speed": 3600.0,
        "window_s": 1800.0,
        "total": {"samples": 26_651, **BOTH},
        "new_items": {"samples": 318},
        "freshness": {"p50_s": 0.9, "p99_s": 2.0},
        "references": references,
    }
    text = shown(summary(found))
    assert max(map(len, text.splitlines())) <= 80
    for word in ("3 – 6 May 2022", "3600 times", "0.7512", "0.7498", "26,651", "318", "0.90 s", "1,800 s"):
        assert word in text, word
    assert ("0.7422" in text) == ("trees" in text) == bool(references)
    assert "as fast as it was learned from" in shown(summary(found | {"speed": None}))


def test_a_speed_is_a_number_or_max():
    assert speed_of("3600") == 3600.0
    assert speed_of("max") is None
    with pytest.raises(ConfigError, match="--speed fast is neither a number, such as 3600, nor max"):
        speed_of("fast")


def test_a_run_is_replayed_and_what_is_wrong_is_one_line(larix, mistake, place, feed, tmp_path):
    run = place / "runs" / "to-replay"
    assert larix("train", small_feed.TINY, "--data", feed, "--set", "steps=2", "--out", run).code == 0
    words = ("--from", "2022-04-28", "--partitions", "2", "--at", tmp_path / "there")
    told = larix("replay", run, "--speed", "max", *words)
    assert (told.code, told.err) == (0, "")
    online = json.loads((run / "metrics.json").read_text())["online"]
    assert f"Replay: {online['samples']:,} impressions of 2022-04-28 to 2022-04-28" in told.out
    assert f"{online['total']['online']['is_click']['auc']:.4f}" in told.out
    assert told.out.rstrip().endswith("report.html")
    with DiskLog(tmp_path / "there" / "log") as log:
        assert log.topics()["impressions"] == log.topics()["actions"] == 2
    assert "--resume" in mistake("replay", run, "--at", tmp_path / "there")
    assert "neither a number" in mistake("replay", run, "--speed", "warp")
    assert "cannot be read" in mistake("replay", tmp_path / "none")
