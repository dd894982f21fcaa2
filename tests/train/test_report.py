import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest

from larix.errors import StorageError
from larix.model.metrics import Metrics
from larix.train.report import render, write_report
from larix.train.wording import delta, percent

TASKS = {"is_click": 0.44, "long_view": 0.31, "is_like": 0.017}
VOID = {"meta", "br", "link", "img", "input", "hr"}


@dataclass
class Task:
    name: str
    kind: str = "binary"


def measured(n=20_000, noise=1.0, seed=0):
    """Metrics of a model that sees the truth through noise, and those of the truth itself."""
    rng = np.random.default_rng(seed)
    tasks = [*(Task(name) for name in TASKS), Task("play_time_ms", "regression")]
    model, truth = Metrics(tasks), Metrics(tasks[:-1])
    base = np.array([np.log(rate / (1 - rate)) for rate in TASKS.values()])
    logits = base + rng.normal(size=(n, 3))
    seconds = rng.gamma(1.0, 18.0, n)
    labels = np.column_stack(
        [rng.random((n, 3)) < 1 / (1 + np.exp(-logits)), seconds * rng.lognormal(0, 0.7, n)]
    )
    group, scene = rng.integers(0, 800, n), rng.choice([1, 0, 4, 9], n, p=[0.8, 0.14, 0.058, 0.002])
    scores = np.column_stack([logits + noise * rng.normal(size=(n, 3)), np.log1p(seconds)])
    model.update(scores, labels, group=group, scene=scene)
    truth.update(logits, labels[:, :3], group=group)
    return model.compute(), truth.compute()


def run(seed=0):
    rng = np.random.default_rng(seed)
    test, truth = measured()
    steps, evaluations = [], []
    for i in range(1, 81):
        decay = np.exp(-i / 20)
        loss = {
            name: float(0.6 * rate**0.4 + 0.1 * decay + 0.01 * rng.normal()) for name, rate in TASKS.items()
        }
        store = {"rows": min(100 * i, 4000), "bytes": 10**4 * i, "lookups": 5000, "hits": 4000 + 10 * i}
        store |= {"evicted": max(0, i - 40) * 7, "refused": 0}
        steps.append(
            {
                "step": 20 * i,
                "samples": 20 * i * 2048,
                "seconds": 1.5 * i + 0.1 * rng.random(),
                "loss": loss,
                "store": store,
            }
        )
        if i % 10 == 0:
            tasks = {
                name: {"auc": 0.745 - 0.1 * decay, "gauc": 0.626 - 0.08 * decay, "logloss": 0.58}
                for name in TASKS
            }
            evaluations.append({"step": 20 * i, "samples": 20 * i * 2048, "tasks": tasks})
    config = {
        "recipe": "kuairand",
        "seed": 1,
        "rows": {"user": {"dim": 16, "optimizer": "RowAdagrad", "lr": 0.05}},
        "days": ["2022-04-25", "2022-05-04"],
        "versions": {"larix": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
    }
    metrics = {
        "state": "finished",
        "data": {
            "name": "KuaiRand-Pure, 12 days",
            "synthetic": False,
            "rows": 192_910,
            "users": 27_285,
            "videos": 7583,
            "days": {"2022-04-25": 15_000, "2022-05-06": 17_000, "2022-04-26": 16_000},
            "repeats_dropped": 5985,
            "rates": TASKS | {"is_hate": 0.001},
            "nulls": {"upload_type": 0.25},
            "train": {"rows": 160_021, "days": ["2022-04-25", "2022-05-04"]},
            "test": {"rows": 32_889, "days": ["2022-05-05", "2022-05-06"]},
            "notes": ["Gao et al., CIKM 2022, CC BY-SA 4.0."],
        },
        "steps": steps,
        "evaluations": evaluations,
        "test": test,
        "references": {
            "boosted trees, static": {"is_click": {"auc": 0.6, "gauc": 0.9, "logloss": 0.6195}},
            "boosted trees, running rates": {"is_click": {"auc": 0.61, "gauc": 0.5591, "logloss": 0.5872}},
        },
        "phases": {"dense": 66.0, "read": 8.1, "lookup": 20.5, "update": 25.4},
        "tables": {
            "user": {"dim": 16, "rows": 27_285, "bytes": 2_619_360},
            "video": {"dim": 16, "rows": 7583, "bytes": 727_968},
            "empty": {"dim": 8, "rows": 0, "bytes": 0},
        },
        "dense_parameters": 412_337,
        "peak_rss_bytes": 1_288_490_188,
    }
    return config, metrics, truth


class Page(HTMLParser):
    """The page's tags, ids, references and text; fails on a tag that is not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.pointed, self.words, self.attributes, self.open = [], [], [], [], [], []
        self.feed(text)
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        self.pointed += [value[1:] for name, value in attrs if name == "href"]
        self.pointed += [
            target for _, value in attrs for target in re.findall(r"url\(#([^)]+)\)", value or "")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def real():
    config, metrics, _ = run()
    return render(config, json.loads(json.dumps(metrics)))


def test_the_page_needs_nothing_from_outside(real):
    page = Page(real)
    assert "http" not in real
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "srcset", "xlink:href")]
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")
    assert not re.search(r"url\((?!#)|@import", real)


def test_ids_of_all_charts_are_unique_and_every_reference_has_its_target(real):
    page = Page(real)
    assert page.tags.count("svg") == 3 + 3 + 3 + 4 + 1
    assert len(page.ids) == len(set(page.ids))
    assert set(page.pointed) <= set(page.ids)


def test_what_the_tables_hold_and_do_is_drawn_over_time(real):
    for title in ("rows", "bytes of memory", "hit rate", "rows evicted"):
        assert f"<figcaption>{title}</figcaption>" in real
    assert "refused" not in real  # none was


def test_what_diversity_costs_is_a_line_a_method(real):
    config, metrics, _ = run()
    curve = [
        {"given_up": share, "distance": 0.7 + share, "coverage": {"author": 5 + share, "tag": 3 + share}}
        for share in (0.0, 0.1, 0.2)
    ]
    metrics["diversity"] = {"page": 10, "window": 5, "requests": 100, "candidates": 200, "vectors": "video"}
    metrics["diversity"]["curves"] = {"MMR": curve, "DPP": curve, "SSD": curve}
    page = render(config, json.loads(json.dumps(metrics)))
    for title in (
        "distance between items of a page",
        "different authors on a page",
        "different tags on a page",
    ):
        assert f"<figcaption>{title}</figcaption>" in page
    text = Page(page).text
    assert "Pages of 10 items from up to 200 candidates, 100 requests" in text
    assert "the 4 before them" in text
    assert page.count("var(--third)") > 3
    heights = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>(?:MMR|DPP|SSD)</text>', page)]
    assert len(heights) == 9
    for chart in range(0, 9, 3):  # curves that end in one point have labels that can be read
        low, middle, high = sorted(heights[chart : chart + 3])
        assert min(middle - low, high - middle) > 7
    assert Page(page).tags.count("svg") == Page(real).tags.count("svg") + 3
    assert "What diversity costs" not in real


def test_charts_take_their_colours_from_the_page_and_keep_text_as_text(real):
    charts = "".join(re.findall(r"<svg.*?</svg>", real, flags=re.DOTALL))
    used = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", charts))
    assert used <= {
        "none",
        "var(--ink)",
        "var(--muted)",
        "var(--line)",
        "var(--first)",
        "var(--second)",
        "var(--page)",
    }
    assert {"var(--first)", "var(--second)"} <= used
    assert charts.count("<text") > 50
    assert "<style" not in charts


def test_the_page_says_which_data_the_run_saw_and_what_came_out(real):
    text = Page(real).text
    for word in (
        "KuaiRand-Pure, 12 days",
        "real data",
        "192,910",
        "5,985",
        "25 Apr – 6 May 2022",
        "44.0%",
        "1.7%",
        "160,021",
        "412,337",
        "1.2 GiB",
        "Gao et al., CIKM 2022",
        "rows.user",
        "torch",
        "2.13.0",
        "17.1%",
        "2.5 MiB",
        "34,868",
        "upload_type 25.0%",
        "videos 7,583",
        "optimizer RowAdagrad, lr 0.05",
    ):
        assert word in text, word
    assert "synthetic" not in text
    assert "is_hate" not in text, "rates of tasks only"
    assert "not finished" not in text
    _, metrics, _ = run()
    for task in TASKS:
        result = metrics["test"]["tasks"][task]
        for key in ("auc", "gauc", "logloss"):
            assert f"{result[key]:.4f}" in text
    assert f"{metrics['test']['tasks']['play_time_ms']['mae']:.2f} s" in text
    auc = metrics["test"]["tasks"]["is_click"]["auc"]
    assert delta(auc - 0.61) in text, "the difference is to the better reference"


def test_a_result_better_than_the_reference_is_marked_so_whichever_way_is_better(real):
    smalls = re.findall(r'<small class="(good|bad)"[^>]*>([^<]+)<', real)
    _, metrics, _ = run()
    ours = metrics["test"]["tasks"]["is_click"]
    expected = [(ours["auc"] - 0.61, 1), (ours["gauc"] - 0.9, 1), (ours["logloss"] - 0.5872, -1)]
    assert smalls == [("good" if way * value > 0 else "bad", delta(value)) for value, way in expected]
    assert {kind for kind, _ in smalls} == {"good", "bad"}


def test_scenes_stand_by_size_and_noisy_ones_are_muted(real):
    section = real[real.index("By scene") :]
    names = re.findall(r"<tr><td>(\d+)</td>", section)
    assert names[:4] == ["1", "0", "4", "9"]
    row = section[section.index("<tr><td>9</td>") :]
    assert "muted" in row[: row.index("</tr>")]
    row = section[section.index("<tr><td>1</td>") :]
    assert "muted" not in row[: row.index("</tr>")]


def test_a_synthetic_run_says_so_first_and_how_far_it_is_from_the_truth():
    config, metrics, truth = run()
    metrics["data"] |= {"synthetic": True, "name": "A synthetic feed"}
    metrics["truth"] = truth
    text = Page(render(config, metrics)).text
    assert text.index("synthetic data") < text.index("Results")
    ours, ceiling = (part["tasks"]["is_click"]["auc"] for part in (metrics["test"], truth))
    assert f"{ceiling:.4f}" in text
    assert percent((ours - 0.5) / (ceiling - 0.5)) in text


@pytest.mark.parametrize(
    "missing",
    [
        "data",
        "steps",
        "evaluations",
        "test",
        "references",
        "phases",
        "tables",
        "dense_parameters",
        "peak_rss_bytes",
    ],
)
def test_a_page_without_one_part_still_stands(missing):
    config, metrics, _ = run()
    del metrics[missing]
    assert Page(render(config, metrics)).tags.count("h1") == 1
    Page(render(config, metrics | {missing: None}))


def test_an_interrupted_run_says_where_it_stopped():
    config, metrics, _ = run()
    metrics = {"state": "interrupted", "data": metrics["data"], "steps": metrics["steps"][:3]}
    text = Page(render(config, metrics)).text
    assert "interrupted after step 60" in text
    assert "no test figures: it was interrupted before its test" in text


def test_curves_that_are_empty_or_not_finite_are_left_out():
    steps = [{"step": 1, "samples": 10, "seconds": 0.0, "loss": {"a": None, "b": float("nan")}}]
    page = Page(render({}, {"steps": steps, "evaluations": [{"step": 1, "tasks": {"a": {"auc": None}}}]}))
    assert "svg" not in page.tags
    assert "Loss while training" not in page.text


def test_names_are_escaped_wherever_they_stand():
    config, metrics, _ = run()
    evil = "<script>x</script>"
    metrics["data"]["name"] = evil
    metrics["tables"] = {evil: {"dim": 1, "rows": 1, "bytes": 1}}
    metrics["steps"] = [{"step": 1, "samples": n, "seconds": n, "loss": {evil: 1.0}} for n in (1, 2)]
    page = render(config | {evil: 1}, metrics)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4


def test_the_report_of_a_run_folder_is_written_beside_its_figures(tmp_path):
    config, metrics, _ = run()
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    path = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    assert Page(path.read_text(encoding="utf-8")).text.count("KuaiRand-Pure") == 1
    assert path.stat().st_size < 300_000


def test_an_empty_run_folder_gives_a_page_and_a_damaged_one_an_error(tmp_path):
    assert "A run without a data card" in write_report(tmp_path).read_text(encoding="utf-8")
    (tmp_path / "metrics.json").write_text('{"steps": [')
    with pytest.raises(StorageError, match=r"metrics\.json cannot be read"):
        write_report(tmp_path)
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(StorageError, match="holds a list, not a JSON object"):
        write_report(tmp_path)


def test_only_a_data_card_makes_the_page_say_that_the_test_was_not_trained_on(real):
    said = "test impressions that training never saw"
    assert f"On 20,000 {said}." in real
    page = render({}, {"test": measured()[0]})
    assert "On 20,000 samples." in page
    assert said not in page


def test_many_tables_are_listed_by_size_and_the_small_ones_folded():
    tables = {f"table{i}": {"dim": 8, "rows": i * 100, "bytes": i * 100 * 36} for i in range(30)}
    page = render({}, {"tables": tables})
    open_part, folded = page.split("22 smaller tables")
    assert open_part.index("all tables") < open_part.index("table29<") < open_part.index("table28<")
    assert "table0<" in folded
    assert "table29<" not in folded
