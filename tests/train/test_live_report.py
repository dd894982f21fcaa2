import re

import pytest

from larix.train.live_report import live_report
from larix.train.report import render


def figures(auc, positives=500):
    curve = [{"predicted": p / 10, "observed": p / 11, "weight": 10} for p in range(1, 9)]
    return {
        "kind": "binary",
        "auc": auc,
        "gauc": auc - 0.1,
        "logloss": 0.6,
        "calibration": 0.99,
        "positives": positives,
        "curve": curve,
    }


def online(**more):
    tasks = {"is_click": 0.75, "long_view": 0.76}
    both = {
        model: {task: figures(auc - down) for task, auc in tasks.items()}
        | {"play": {"kind": "regression", "mae": 3.0}}
        for model, down in (("online", 0.0), ("frozen", 0.0123))
    }
    few = {model: {task: figures(0.7, positives=9) for task in tasks} for model in ("online", "frozen")}
    given = {
        "state": "finished",
        "days": ["2022-05-03", "2022-05-06"],
        "measured": ["2022-05-05", "2022-05-06"],
        "speed": 3600.0,
        "window_s": 1800.0,
        "lateness_s": 60.0,
        "restarts": 0,
        "events": 168_673,
        "samples": 62_406,
        "answers": 62_400,
        "published": 104,
        "published_rows": 816_021,
        "total": {"samples": 26_651, **both},
        "new_items": {"samples": 318, **few},
        "served": {"samples": 26_000, "tasks": {task: figures(auc - 0.001) for task, auc in tasks.items()}},
        "windows": [{"last_ms": 3_600_000 * 6 * at, "samples": 99, **both} for at in range(1, 9)],
        "freshness": {
            "samples": 99,
            "p50_s": 1.234,
            "p99_s": 2.5,
            "curve": [[at / 10, at / 30] for at in range(31)],
        },
        "references": {"trees": {"is_click": {"auc": 0.7422, "gauc": 0.5591, "logloss": 0.5872}}},
    }
    return given | more


def page(**more):
    return render({"recipe": "kuairand"}, {"online": online(**more)})


def test_the_page_shows_both_models_what_was_served_and_how_fresh():
    shown = page()
    assert "Replayed online" in shown
    for text in (
        "0.7500",
        "+0.0123",
        "0.7377",
        "0.7422",
        "0.7490",
        "168,673",
        "816,021 rows",
        "1.23 s",
        "p99 2.50 s",
        "5 – 6 May 2022",
    ):
        assert text in shown, text
    assert shown.count("<svg") == 2 * 3 + 1 + 2
    ids = re.findall(r'\bid="([^"]+)"', shown)
    assert len(ids) == len(set(ids))
    assert '<td class="first muted">0.700</td>' in shown  # of few positives


def test_a_run_without_a_replay_has_no_such_part():
    assert live_report({}) is None
    assert "Replayed" not in render({}, {})


@pytest.mark.parametrize(
    "gone",
    ["total", "new_items", "served", "windows", "freshness", "references", "restarts", "speed", "days"],
)
def test_what_is_missing_is_left_out(gone):
    kept = {name: value for name, value in online().items() if name != gone}
    shown = render({}, {"online": kept})
    assert "Replayed online" in shown
    assert "None" not in re.sub(r"<svg.*?</svg>|<style.*?</style>", "", shown, flags=re.DOTALL)


def test_one_that_was_interrupted_or_whose_parts_were_killed_says_so():
    shown = page(state="interrupted", restarts=3)
    assert "The replay was interrupted." in shown
    assert "began again: 3." in shown
    assert "began again" not in page()


def test_freshness_as_fast_as_learned_says_that_events_wait_by_design():
    assert "p99 2.50 s, of which most in a queue kept full" in page(speed=None)
    assert "queue" not in page()


def test_windows_of_few_positives_make_no_point_of_a_curve():
    few = [
        {
            "last_ms": 1,
            "samples": 1,
            "online": {"is_click": figures(0.7, 5)},
            "frozen": {"is_click": figures(0.7, 5)},
        }
    ] * 8
    assert all(svg == "" for _, svg in live_report(online(windows=few))["curves"])
    assert all(svg for _, svg in live_report(online())["curves"])
