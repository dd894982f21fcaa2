import ctypes
import gc
import json
import shutil
import threading
import time
from functools import partial
from io import StringIO
from pathlib import Path

import faulty
import grpc
import numpy as np
import onlining
import pytest
import requests
from faulty import Neighbour, Stalled, eventually, over_grpc, over_http
from followed import bundle_of, request_of
from onlining import Recorder
from rich.console import Console
from shop_bundle import exported
from wire import ask

from larix.errors import ConfigError, StorageError
from larix.recipes import served
from larix.recipes.served import Back, Front, Place, listening, place_of, serve, serving
from larix.recipes.serving import messages_of
from larix.serve import Refusal
from larix.serve.bundle import Bundle
from larix.serve.request import Request
from larix.train.online import Published


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("shop"), "first")


@pytest.fixture
def quiet():
    return Console(file=StringIO(), width=200)


def test_a_place_is_a_bundle_or_a_folder_of_them_and_may_be_given_a_name(bundle, quiet):
    assert place_of(str(bundle), quiet) == Place(name="shop", folder=bundle)
    assert place_of(f"mine={bundle}", quiet) == Place(name="mine", folder=bundle)
    assert place_of(str(bundle.parent), quiet) == Place(name=bundle.parent.name, folder=bundle.parent)


def test_a_run_is_exported_once_a_version(tmp_path, quiet, monkeypatch):
    run, made = tmp_path / "three", []
    (run / "versions" / "step-0000000009").mkdir(parents=True)
    (run / "versions" / "step-0000000010").mkdir()
    (run / "config.json").write_text("{}")

    def exporting(run, folder, console, how):
        made.append((folder.name, how.model))
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")

    monkeypatch.setattr(served, "export_run", exporting)
    for _ in range(2):
        assert place_of(str(run), quiet) == Place(name="three", folder=run / "bundles", run=run)
    assert made == [("step-0000000010", "")]


@pytest.mark.parametrize("what", ["nothing", "empty", "file"])
def test_what_is_no_place_is_told(tmp_path, quiet, what):
    path = tmp_path / what
    if what == "empty":
        path.mkdir()
    if what == "file":
        path.write_text("x")
    with pytest.raises(ConfigError, match="no bundle, no folder of bundles and no run"):
        place_of(str(path), quiet)


def test_a_run_without_a_version_and_a_damaged_bundle_are_told(tmp_path, quiet):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="has no version yet"):
        place_of(str(tmp_path), quiet)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(StorageError, match="is damaged"):
        place_of(str(tmp_path), quiet)


def test_models_need_names_of_their_own_and_runs_to_follow(bundle):
    place = Place(name="shop", folder=bundle)
    with pytest.raises(ConfigError, match="have one name"):
        serving([place, place], Back())
    with pytest.raises(ConfigError, match="give the run's folder"):
        serving([place], Back(follow=lambda run: pytest.fail("there is no run")))


def test_a_bundle_that_is_damaged_is_not_served(bundle, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in bundle.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(bundle)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(bundle)).write_bytes(path.read_bytes())
    with (copy / "sample.json").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(Refusal, match=r"sample\.json"):
        serving([Place(name="shop", folder=copy)], Back())


def test_it_serves_until_it_is_told_to_stop(bundle, quiet):
    stopped = threading.Event()
    front = Front(port=0, grpc_port=0, timeout_s=20.0)

    def run():
        with listening([Place(name="shop", folder=bundle)], front, Back(streams=1)) as server:
            serve(server, quiet, stopped)

    running = threading.Thread(target=run)
    running.start()
    until = time.monotonic() + 60
    while "Serving" not in quiet.file.getvalue() and time.monotonic() < until:
        time.sleep(0.05)
    told = quiet.file.getvalue()
    url = told.split(": ")[1].split(",")[0]
    assert "gRPC at 127.0.0.1:" in told
    name = requests.get(f"{url}/v1/examples", timeout=20).json()[0]["name"]
    one = requests.get(f"{url}/v1/examples/{name}", timeout=20).json()
    body = json.dumps({key: one[key] for key in ("user", "context", "candidates")})
    assert requests.post(f"{url}/v1/rank", data=body, timeout=20).json()["model"] == "shop"
    metrics = requests.get(f"{url}/metrics", timeout=20).text
    assert 'larix_answers_total{model="shop",version="first"} 1.0' in metrics
    assert 'larix_http_answers_total{method="POST",path="/v1/rank",status="200"} 1.0' in metrics
    stopped.set()
    running.join(60)
    assert not running.is_alive()
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_tokens_are_read_before_anything_is_loaded(tmp_path, quiet):
    front = Front(port=0, tokens=tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot read the tokens"):
        listening([Place(name="shop", folder=Path("nowhere"))], front, Back()).__enter__()


@pytest.fixture
def shop(tmp_path):
    exported(tmp_path / "bundles", "step-7")
    with faulty.listening(Place(name="shop", folder=tmp_path / "bundles"), Back(streams=2)) as server:
        server.body = faulty.body_of(Bundle.open(tmp_path / "bundles" / "step-7"))
        yield server


def test_when_all_its_threads_are_killed_those_under_way_are_told_and_others_answered(shop):
    with Neighbour(shop, over_http) as neighbour:
        for _ in range(5):
            for each in threading.enumerate():
                if each.name == "engine":
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(each.ident), ctypes.py_object(SystemExit)
                    )
            time.sleep(0.2)
        eventually(lambda: shop.service.stats().engine.replaced >= 5)
    assert set(neighbour.statuses) <= {200, 500}
    assert neighbour.statuses.count(200) > 10
    assert [over_http(shop)[0] for _ in range(20)] == [200] * 20
    assert ask(shop, "GET", "/v2/health/ready").status == 200


def test_a_damaged_bundle_is_told_by_name_while_the_one_before_answers(shop, tmp_path):
    def told():
        index = ask(shop, "POST", "/v2/repository/index", {}).document
        return {each["version"]: (each["state"], each.get("reason", "")) for each in index}

    with Neighbour(shop, over_http) as neighbour:
        other = shutil.copytree(tmp_path / "bundles" / "step-7", tmp_path / "bundles" / ".step-8")
        whole = (other / "sample.json").read_bytes()
        (other / "sample.json").write_bytes(whole[:-1])
        other = other.rename(tmp_path / "bundles" / "step-8")
        eventually(lambda: told().get("step-8", ("", ""))[0] == "UNAVAILABLE")
        assert "sample.json" in told()["step-8"][1]
        assert over_http(shop)[0] == 200
        (other / "sample.json").write_bytes(whole)
        assert ask(shop, "POST", "/v2/repository/models/shop/load", {}).status == 200
        assert shop.service.models()[0].live == "step-8"
    assert set(neighbour.statuses) == {200}


@pytest.mark.parametrize("neighbours", [over_http, over_grpc])
def test_clients_that_stall_are_cut_off_while_neighbours_are_answered_in_time(shop, neighbours):
    """As many of each kind as there are threads anywhere, and more: before a request and in it, over both protocols."""
    kinds = (
        faulty.stall_at_the_head,
        faulty.stall_in_the_body,
        faulty.stall_at_the_preface,
        faulty.stall_in_a_frame,
    )
    with Neighbour(shop, neighbours) as quiet:
        time.sleep(1)
    slow = [kind(shop) for kind in kinds for _ in range(40)]
    halves = Stalled(shop, 20)
    try:
        with Neighbour(shop, neighbours) as neighbour:
            eventually(lambda: all(each.done() for each in halves.calls))
            eventually(lambda: shop.app._bodies.held_bytes == 0)
            ends = [faulty.what_is_left(wire) for wire in slow]
    finally:
        halves.close()
        for wire in slow:
            wire.close()
    assert all(told == b"" or told.startswith(b"HTTP/1.1 408") for told in ends[:80]), set(ends[:80])
    assert shop.app.counts["POST", "/v1/rank", 408] == 40
    assert {each.code() for each in halves.calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert set(neighbour.statuses) == {200}
    assert len(neighbour.statuses) > 20
    assert np.median(neighbour.seconds) < 5 * np.median(quiet.seconds) + 0.05
    assert max(neighbour.seconds) < 2.0
    assert over_http(shop)[0] == 200
    assert over_grpc(shop)[0] == 200


def test_a_wall_clock_that_jumps_is_seen_by_nobody_who_asks_or_is_followed(tmp_path, monkeypatch):
    """Years ahead and back with every batch, for trainer, log and server alike, while pages are asked for."""
    start = onlining.begin(tmp_path / "start").folder
    samples = onlining.feed(tmp_path / "feed", rows=2400)
    records = samples.slice(1500, 40).combine_chunks().to_batches()[0]
    with onlining.log_of(tmp_path / "log", samples) as log:
        onlining.crash(start, log, tmp_path / "run", at=2)
        bundle = bundle_of(tmp_path / "run", records, tmp_path / "bundles" / "first")
        place = Place(name="problem", folder=tmp_path / "bundles", run=tmp_path / "run")
        back = Back(streams=2, follow=partial(messages_of, log=log), dense_s=0.1)
        with faulty.listening(place, back) as server:
            (context, candidates), _ = request_of(bundle.signature, records)
            server.body = faulty.body_of(bundle)
            session = server.service.sessions.open(model="problem", context=context, ttl_s=60.0).result(10)
            real, real_ns, jump = time.time, time.time_ns, [0]
            monkeypatch.setattr(time, "time", lambda: real() + jump[0])
            monkeypatch.setattr(time, "time_ns", lambda: real_ns() + jump[0] * 10**9)
            monkeypatch.setattr("larix.serve.models.following.time", lambda: real() + jump[0])
            batches, ages = [], []

            def leap(progress):
                batches.append(progress)
                jump[0] = (-1) ** len(batches) * 365 * 86400
                ages.append(server.service.stats().versions[0].gauges["delta_age_s"])
                time.sleep(0.2)

            with Neighbour(server, over_http) as neighbour:
                recorder = Recorder(then=leap)
                onlining.run(
                    start, log, tmp_path / "run", watcher=recorder, save_every_s=1e9, dense_every_s=0.2
                )
                last = recorder.of(Published)[-1].sequence
                eventually(lambda: over_http(server)[1]["dense"] == last)
            jump[0] = 0
            answer = server.service.rank(Request(id="r", context=context, candidates=candidates)).result(10)
            assert (answer.stamp.rows, answer.stamp.dense) == (last, last)
            asked = Request(id="s", session=session.id, candidates=candidates)
            scored = server.service.sessions.score(asked).result(10)
            assert len(scored.order) == len(candidates)
            assert server.service.models()[0].versions[0].reason == ""
    assert len(batches) > 10
    assert min(ages) >= 0
    assert set(neighbour.statuses) == {200}
    rows = [stamp["rows"] for stamp in neighbour.stamps]
    assert rows == sorted(rows)
    assert len(set(rows)) > 5
    assert all(stamp["dense"] <= stamp["rows"] for stamp in neighbour.stamps)
    assert max(neighbour.seconds) < 2.0


def test_the_collector_leaves_alone_what_is_there_when_serving_begins():
    before = gc.get_threshold()
    with served.settled():
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold() > before
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
