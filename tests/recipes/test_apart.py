"""Whole servers of worker processes: ends that come unasked, versions that come, and a front that goes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import requests
import tritonclient.grpc as triton
from faulty import Neighbour, eventually
from shop_bundle import exported
from wire import ask

from larix.data.keyed import partitions
from larix.data.log import DiskLog
from larix.errors import ConfigError, StorageError
from larix.recipes.acted import feedback_to
from larix.recipes.apart import listening_apart, work_of
from larix.recipes.served import Front, Place
from larix.serve.bundle import Bundle
from larix.serve.http.logged import LoggedPeople

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are told by /proc")
FRONT = Front(port=0, grpc_port=0, timeout_s=20.0, drain_s=5.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def server(bundle, tmp_path):
    """Two workers, and a folder that bundles may come to."""
    shutil.copytree(bundle, tmp_path / "bundles" / "step-7")
    place = Place(name="shop", folder=tmp_path / "bundles")
    with listening_apart(work_of([place], streams=1), FRONT, 2) as made:
        made.http.body = body_of(bundle)
        yield made


def body_of(path):
    opened = Bundle.open(path)
    people = LoggedPeople("shop", opened.signature, opened.warm)
    one = people.example(people.people()[0][0])
    return {"context": one.context, "user": one.user, "candidates": one.candidates, "timeout_ms": 20_000}


def ranked(http):
    told = ask(http, "POST", "/v1/rank", http.body)
    return told.status, told.document.get("version")


def workers_of(process):
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process and b"recipes.apart" in (each / "cmdline").read_bytes():
                found.append(int(each.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def gone(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_pages_sessions_and_tensors_are_answered_and_all_workers_count(server):
    http = server.http
    assert server.models == "shop step-7"
    pages = [ask(http, "POST", "/v1/rank", http.body) for _ in range(4)]
    assert {page.status for page in pages} == {200}
    values = [[(item["item"], item["value"]) for item in page.document["items"]] for page in pages]
    assert values == [values[0]] * 4, "workers differ"
    session = ask(http, "POST", "/v1/sessions", {key: http.body[key] for key in ("user", "context")}).document
    scored = ask(
        http, "POST", f"/v1/sessions/{session['session']}/score", {"candidates": http.body["candidates"]}
    )
    assert [(item["item"], item["value"]) for item in scored.document["items"]] == values[0]
    metrics = ask(http, "GET", "/metrics").body.decode()
    for worker in (0, 1):
        assert f'larix_answers_total{{worker="{worker}",model="shop",version="step-7"}}' in metrics
    with triton.InferenceServerClient(server.told[1].removeprefix("gRPC at ")) as client:
        assert client.is_model_ready("shop")
        assert [each.name for each in client.get_model_repository_index().models] == ["shop"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_request_fails_when_a_worker_ends_and_another_takes_its_place(server, how):
    before = workers_of(os.getpid())
    assert len(before) == 2
    with Neighbour(server.http, ranked) as one, Neighbour(server.http, ranked) as other:
        time.sleep(0.5)
        os.kill(before[0], how)
        eventually(lambda: len(set(workers_of(os.getpid())) - set(before)) == 1)
        eventually(
            lambda: (
                'larix_ready{worker="0"} 1.0' in (text := metrics(server))
                and 'larix_ready{worker="1"} 1.0' in text
            )
        )
        time.sleep(0.5)
    assert set(one.statuses + other.statuses) == {200}
    assert len(one.statuses) > 20


def metrics(server):
    return ask(server.http, "GET", "/metrics").body.decode()


def test_a_session_of_a_worker_that_ended_is_told_to_be_opened_again(server):
    http, asked = server.http, {key: server.http.body[key] for key in ("user", "context")}
    opened = [ask(http, "POST", "/v1/sessions", asked).document["session"] for _ in range(2)]
    before = workers_of(os.getpid())
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(workers_of(os.getpid())) == 2 and before[0] not in workers_of(os.getpid()))
    eventually(lambda: metrics(server).count("larix_ready{") == 2)
    score = {"candidates": http.body["candidates"]}
    told = [ask(http, "POST", f"/v1/sessions/{session}/score", score) for session in opened]
    assert sorted(each.status for each in told) == [200, 404]
    assert "open one" in next(each for each in told if each.status == 404).document["error"]


def test_a_bundle_that_comes_is_taken_up_by_every_worker_while_all_are_answered(server, bundle, tmp_path):
    with Neighbour(server.http, ranked) as neighbour:
        coming = shutil.copytree(bundle, tmp_path / "bundles" / ".step-8")
        manifest = json.loads((coming / "manifest.json").read_text())
        (coming / "manifest.json").write_text(
            json.dumps(manifest, indent=1)
        )  # another digest: another bundle
        coming.rename(tmp_path / "bundles" / "step-8")

        def live():
            lines = metrics(server).splitlines()
            return [
                line for line in lines if line.startswith("larix_version_live{") and line.endswith(" 1.0")
            ]

        eventually(lambda: len(live()) == 2 and all('version="step-8"' in line for line in live()))
        eventually(lambda: neighbour.stamps[-1] == "step-8")
    assert set(neighbour.statuses) == {200}
    assert set(neighbour.stamps) == {"step-7", "step-8"}


def shared(server):
    """The image that each worker has mapped, by worker, and the bytes that they tell of."""
    inodes = {}
    for process in workers_of(os.getpid()):
        for each in Path(f"/proc/{process}/fd").iterdir():
            if os.readlink(each).startswith("/memfd:larix-rows"):
                inodes[process] = each.stat().st_ino
    told = [
        line for line in metrics(server).splitlines() if line.startswith("larix_version_row_shared_bytes{")
    ]
    return inodes, [float(line.split()[-1]) for line in told]


def test_workers_hold_a_bundle_s_rows_once_one_that_is_started_again_too(server):
    inodes, told = shared(server)
    assert len(inodes) == 2
    assert len(set(inodes.values())) == 1
    assert len(told) == 2
    assert min(told) > 0
    before = sorted(inodes)
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(workers_of(os.getpid())) == 2 and before[0] not in workers_of(os.getpid()))
    eventually(lambda: metrics(server).count("larix_ready{") == 2)
    again, told = shared(server)
    assert set(again) == set(workers_of(os.getpid()))
    assert set(again.values()) == set(inodes.values())
    assert min(told) > 0


def test_workers_have_a_core_each_as_far_as_there_are_enough(server):
    cores = sorted(os.sched_getaffinity(0))
    found = sorted(tuple(sorted(os.sched_getaffinity(each))) for each in workers_of(os.getpid()))
    assert found == ([(core,) for core in cores[:2]] if len(cores) > 1 else [tuple(cores)] * 2)


def test_what_keeps_workers_from_starting_is_told_and_none_is_left(bundle, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "bundles" / "step-7")
    with (copy / "sample.json").open("r+b") as file:
        file.write(b"x")
    place = Place(name="shop", folder=copy)
    with pytest.raises(StorageError, match=r"sample\.json"):
        listening_apart(work_of([place]), FRONT, 2).__enter__()
    assert workers_of(os.getpid()) == []
    with pytest.raises(ConfigError, match="cannot read the tokens"):
        listening_apart(work_of([place]), Front(tokens=tmp_path / "none"), 2).__enter__()


def test_feedback_goes_to_all_partitions_and_workers_write_none(bundle, tmp_path):
    acted = pa.record_batch(
        {"user_id": pa.array([0]), "event_id": pa.array(["begun"]), "time_ms": pa.array([1])}
    )
    with DiskLog(tmp_path / "log") as log:
        log.create("actions", partitions=3)
        log.append("actions", acted)
        work = work_of([Place(name="shop", folder=bundle)], streams=1)
        with (
            feedback_to(log, "actions", keyed="user_id") as feedback,
            listening_apart(work, FRONT, 2, feedback=feedback) as server,
        ):
            for user in range(0, 60, 2):
                body = {"actions": [{"user_id": user, "time_ms": 2}, {"user_id": user + 1, "time_ms": 2}]}
                assert ask(server.http, "POST", "/v1/feedback", body).document["taken"] == 2
            mean = ask(server.http, "POST", "/v1/feedback", {"actions": [{"user_id": "nobody"}]})
            assert (mean.status, "user_id" in mean.document["error"]) == (400, True)
        found = {partition: [] for partition in range(3)}
        with log.consumer("actions") as consumer:
            for each in consumer.drain():
                found[each.partition] += [
                    row["user_id"] for row in each.rows.to_pylist() if row["time_ms"] == 2
                ]
    assert sorted(user for users in found.values() for user in users) == list(range(60))
    for partition, users in found.items():
        assert users
        assert set(partitions(pa.array(users), 3).tolist()) == {partition}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_front_however_that_ends(bundle, how):
    words = ["serve", str(bundle), "--port", "0", "--processes", "2", "--timeout-ms", "20000"]
    front = subprocess.Popen(
        [sys.executable, "-c", "from larix.cli import main; main()", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = front.stdout.readline().split()[-1]
        assert requests.get(f"{url}/v2/health/ready", timeout=20).status_code == 200
        workers = workers_of(front.pid)
        assert len(workers) == 2
        front.send_signal(how)
        assert front.wait(60) == (0 if how == signal.SIGTERM else -9)
        eventually(lambda: all(gone(each) for each in workers))
    finally:
        front.kill()
        front.communicate()


def test_scores_do_not_depend_on_how_many_answer(server, bundle):
    from larix.recipes.served import Back, listening

    http = server.http
    with listening(
        [Place(name="shop", folder=bundle)], Front(port=0, timeout_s=20.0), Back(streams=1)
    ) as alone:
        alone.http.body = http.body
        found = [ask(each, "POST", "/v1/rank", http.body).document["items"] for each in (http, alone.http)]
    assert np.array_equal([item["value"] for item in found[0]], [item["value"] for item in found[1]])
