import json
import re
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import small_feed
from rich.console import Console
from shop_bundle import exported

from larix import data
from larix.data.log import DiskLog
from larix.recipes import carry_out

PAGED = str(Path(small_feed.__file__).with_name("paged.py")) + ":tiny"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("shop"))


def first_asked(served):
    """Where a server that was just started is, and what its first example asks."""
    told = next((line for line in served.stdout if line.startswith("Serving")), None)
    assert told, served.stderr.read()
    url = told.split()[-1]
    name = requests.get(f"{url}/v1/examples", timeout=20).json()[0]["name"]
    one = requests.get(f"{url}/v1/examples/{name}", timeout=20).json()
    return url, {key: one[key] for key in ("user", "context", "candidates")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_bundle_is_served_until_a_signal_says_to_stop(process, bundle, number):
    served = process("serve", bundle, "--port", "0", "--streams", "1", "--timeout-ms", "20000", "--log-calls")
    try:
        told = served.stdout.readline()
        assert told.startswith("Serving shop step-7: http://127.0.0.1:"), served.stderr.read()
        url = told.split()[-1]
        assert requests.get(f"{url}/v2/health/ready", timeout=20).status_code == 200
        assert requests.get(url, timeout=20).text.startswith("<!doctype html>")
        served.send_signal(number)
        assert served.wait(60) == 0
        out, err = served.communicate()
        assert "answering what is under way" in out
        calls = [json.loads(line) for line in err.splitlines()]
        assert [call["path"] for call in calls if "path" in call] == ["/v2/health/ready", "/"]
    finally:
        served.kill()
        served.communicate()


@pytest.mark.parametrize("processes", ["0", "1"])
def test_rows_that_are_used_less_may_lie_on_disk_and_answers_stay_the_same(
    process, bundle, tmp_path, processes
):
    def answered(*more):
        served = process("serve", bundle, "--port", "0", "--timeout-ms", "20000", *more)
        try:
            url, body = first_asked(served)
            page = requests.post(f"{url}/v1/rank", json=body, timeout=20).json()
            return page["items"], requests.get(f"{url}/metrics", timeout=20).text
        finally:
            served.kill()
            served.communicate()

    told = ("--hot-rows", "256", "--cold-rows", "disk", "--rows-folder", tmp_path, "--processes", processes)
    (whole, without), (parted, metrics) = answered(), answered(*told)
    assert [each["item"] for each in parted] == [each["item"] for each in whole]
    for one, other in zip(
        parted, whole, strict=True
    ):  # each server takes the form of the network that it measured as faster
        assert one["scores"] == pytest.approx(other["scores"], rel=1e-5)
    assert "larix_version_row_hit_rate" not in without
    disk = re.search(r"^larix_version_row_disk_bytes{.*} (.*)$", metrics, re.MULTILINE)
    assert disk is not None
    assert float(disk[1]) > 0


@pytest.mark.parametrize(
    "words",
    [
        ("--cold-rows", "disk"),
        ("--hot-rows", "plenty"),
        ("--hot-rows", "1GiB", "--cold-rows", "tape"),
        ("--rows-folder", "here"),
    ],
)
def test_levels_of_rows_that_cannot_be_are_told_before_anything_is_loaded(process, bundle, words):
    served = process("serve", bundle, "--port", "0", *words)
    out, err = served.communicate(timeout=60)
    assert served.returncode == 2
    assert "hot" in err or "cold" in err
    assert "Traceback" not in err
    assert "Serving" not in out


def test_a_file_that_tells_values_is_looked_at_again(process, bundle, tmp_path):
    from larix.feed import ValueModel, WeightedSum
    from larix.feed.serial import write as written

    path = tmp_path / "value.json"

    def write(sign):
        path.write_text(written(ValueModel(fusion=WeightedSum(weights={"click": sign}))))

    write(1.0)
    served = process(
        "serve", f"mine={bundle}", "--port", "0", "--values", f"mine={path}", "--timeout-ms", "20000"
    )
    try:
        url, body = first_asked(served)
        body["diversity"] = False

        def page():
            return [
                item["value"]
                for item in requests.post(f"{url}/v1/rank", json=body, timeout=20).json()["items"]
            ]

        first, until = page(), time.monotonic() + 30
        write(0.5)
        while (second := page()) == first and time.monotonic() < until:
            time.sleep(0.1)
        assert second == pytest.approx([value / 2 for value in first])
    finally:
        served.kill()
        served.communicate()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nowhere"], "no bundle, no folder of bundles and no run"),
        (["{bundle}", "--host", "0.0.0.0"], "tokens and TLS are needed"),
        (["{bundle}", "--port", "99999"], "cannot listen at port 99999"),
        (["{bundle}", "--token-file", "nowhere"], "cannot read the tokens"),
        (["{bundle}", "--tls-cert", "nowhere"], "belong together"),
        (["{bundle}", "--values", "shop"], "write it as MODEL=FILE"),
        (["{bundle}", "--follow", "nowhere"], "is no event log"),
        (["{bundle}", "--timeout-ms", "0"], "timeout_s"),
        (["{bundle}", "{bundle}"], "have one name"),
    ],
)
def test_mistakes_are_one_line(mistake, bundle, words, why):
    assert why in mistake("serve", *(word.format(bundle=bundle) for word in words))


@pytest.mark.slow
def test_a_run_is_followed_while_it_is_trained_on_and_takes_feedback(larix, process, place, feed):
    """A run goes on online, is served from its folder, goes on again: answers follow, and actions reach the log."""
    run, live, folder = place / "runs" / "followed", place / "runs" / "followed live", place / "log followed"
    carry_out(PAGED, [], run, Console(quiet=True), data=feed)
    samples = next(run.parent.joinpath("samples").glob("feed-*"))
    first, second = data.files(samples).paths[-2:]
    online = ("online", run, "--log", folder, "--out", live, "--once", "--set", "batch_size=64")
    with DiskLog(folder) as log:
        log.create("samples")
        log.create("actions")
        log.append("actions", pa.record_batch({"kind": ["click"], "video_id": [1], "time_ms": [5]}))
        append(log, first)
    assert larix(*online).code == 0
    served = process(
        "serve",
        live,
        "--follow",
        folder,
        "--feedback",
        folder,
        "--port",
        "0",
        "--streams",
        "1",
        "--timeout-ms",
        "20000",
    )
    try:
        url, body = first_asked(served)

        def page():
            return requests.post(f"{url}/v1/rank", json=body, timeout=20).json()

        before, until = page(), time.monotonic() + 120
        with DiskLog(folder) as log:
            append(log, second)
        assert larix(*online).code == 0
        while (after := page())["stamp"]["dense"] == before["stamp"]["dense"] and time.monotonic() < until:
            time.sleep(0.2)
        assert after["stamp"]["rows"] >= after["stamp"]["dense"] > before["stamp"]["dense"]
        assert after["stamp"]["history"] == before["stamp"]["history"]
        scores = [{item["item"]: item["value"] for item in each["items"]} for each in (before, after)]
        assert scores[0].keys() == scores[1].keys()
        assert scores[0] != scores[1]
        action = {"actions": [{"kind": "like", "video_id": 7}]}
        assert requests.post(f"{url}/v1/feedback", json=action, timeout=20).json()["taken"] == 1
        served.send_signal(signal.SIGTERM)
        assert served.wait(60) == 0
    finally:
        served.kill()
        served.communicate()
    with DiskLog(folder) as log, log.consumer("actions") as consumer:
        rows = [row for events in consumer.drain() for row in events.rows.to_pylist()]
    assert [(row["kind"], row["video_id"]) for row in rows] == [("click", 1), ("like", 7)]
    assert rows[1]["time_ms"] > 1e12


def append(log, path):
    for batch in pq.read_table(path).to_batches(max_chunksize=50):
        log.append("samples", batch)
