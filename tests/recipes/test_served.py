import json
import threading
import time
from io import StringIO
from pathlib import Path

import pytest
import requests
from rich.console import Console
from shop_bundle import exported

from larix.errors import ConfigError, StorageError
from larix.recipes import served
from larix.recipes.served import Back, Front, Place, place_of, serve, serving
from larix.serve import Refusal


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
    running = threading.Thread(
        target=serve, args=([Place(name="shop", folder=bundle)], front, Back(streams=1), quiet, stopped)
    )
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
        serve([Place(name="shop", folder=Path("nowhere"))], front, Back(), quiet, threading.Event())
