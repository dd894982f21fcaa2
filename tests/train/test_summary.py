import pytest
from rich.console import Console

from larix.train.summary import summary

CLICK = {"kind": "binary", "auc": 0.7452, "gauc": 0.6259, "logloss": 0.5801, "calibration": 1.013}
PLAY = {
    "kind": "regression",
    "mae": 11.94,
    "rmse": 26.95,
    "xauc": 0.6266,
    "predicted": 17.9,
    "observed": 22.9,
}
METRICS = {
    "state": "finished",
    "data": {
        "name": "KuaiRand-Pure",
        "synthetic": False,
        "train": {"rows": 160_021, "days": ["2022-04-25", "2022-05-04"]},
        "test": {"rows": 32_889},
    },
    "steps": [
        {"step": 1, "samples": 2048, "seconds": 1.0, "loss": {"click": 0.7}},
        {"step": 80, "samples": 163_840, "seconds": 8.0, "loss": {"click": 0.6}},
    ],
    "test": {"tasks": {"click": CLICK, "play": PLAY}},
    "tables": {
        "user": {"dim": 16, "rows": 27_285, "bytes": 2 << 20},
        "video": {"rows": 7_583, "bytes": 1 << 20},
    },
}


def printed(metrics, width=140):
    console = Console(width=width, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(summary(metrics))
    return captured.get()


def test_the_summary_says_data_speed_and_every_metric():
    text = printed(METRICS)
    for words in (
        "KuaiRand-Pure (real data)",
        "train 160,021 impressions of 25 Apr – 4 May 2022",
        "test 32,889 impressions\n",
        "163,840 samples in 8.0 s, 20,480 samples/s, 34,868 rows in 2 tables, 3.0 MiB",
        "play: XAUC 0.6266, off by 11.9 s on average (RMSE 26.9 s), mean 17.9 s for 22.9 s observed",
    ):
        assert words in text, words
    row = next(line.split() for line in text.splitlines() if line.startswith("click"))
    assert row == ["click", "0.7452", "0.6259", "0.5801", "1.013"]
    assert "to best" not in text
    assert "truth" not in text


def test_references_and_truth_stand_beside_our_figures():
    more = {
        "references": {"trees": {"click": {"auc": 0.7422, "gauc": 0.6309}}},
        "truth": {"tasks": {"click": {"auc": 0.8}}},
    }
    text = printed(METRICS | more)
    row = next(line.split() for line in text.splitlines() if line.startswith("click"))
    assert row == ["click", "0.7452", "+0.0030", "0.6259", "−0.0050", "0.5801", "1.013", "0.8000", "81.7%"]


def test_synthetic_data_and_an_interrupted_run_are_said_plainly():
    text = printed(METRICS | {"state": "interrupted", "data": {"name": "A feed", "synthetic": True}})
    assert "A feed (synthetic)" in text
    assert "interrupted after step 80" in text


@pytest.mark.parametrize("missing", ["data", "steps", "test", "tables", "state"])
def test_a_run_that_lacks_a_part_is_still_summed_up(missing):
    assert printed({name: part for name, part in METRICS.items() if name != missing})


def test_a_run_without_a_test_says_so():
    assert printed({}).strip() == "No test figures."


def test_on_a_narrow_terminal_every_figure_is_still_whole():
    text = printed(METRICS, 30)
    assert "…" not in text
    assert "click: AUC 0.7452, GAUC 0.6259, logloss 0.5801, calibration 1.013" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 30
    assert "AUC    GAUC" in printed(METRICS, 40)
