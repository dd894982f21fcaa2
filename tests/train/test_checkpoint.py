import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import problem
import pytest
import safetensors.torch
import torch
from trainer import fit

from larix.embedding import Tables, reference, storage
from larix.errors import ConfigError, StorageError
from larix.train import checkpoint, generators, version

TRAINER = Path(__file__).with_name("trainer.py")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return problem.write(tmp_path_factory.mktemp("feed") / "data")


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """A run of 60 steps that nothing interrupts."""
    return fit(source, tmp_path_factory.mktemp("whole"), steps=60, epochs=2, average=0.9)


def state_of(folder, seen=True):
    """Every weight, moment, row (``seen``: and when it was) and generator of the newest version, as bytes."""
    found = checkpoint.load(Path(folder) / "versions")
    pieces = list(storage.read(found.path / "tables"))
    rows = {  # by id: the order of rows in files is no one's business
        (piece.table, one): tuple(array[at].tobytes() for array in piece[2 : 6 if seen else 4])
        for piece in pieces
        for at, one in enumerate(piece.ids.tolist())
    }
    assert len(rows) == sum(len(piece.ids) for piece in pieces) > 0
    files = {name: content for name, content in found.files.items() if name.endswith(".safetensors")}
    plain = {key: found.state[key] for key in ("optimizer", "generators")}
    return found.point.step, found.point.position, plain, files, rows


def train_apart(source, folder, limit=None, **settings):
    data = source.paths[0].parent
    return subprocess.Popen(
        [sys.executable, TRAINER, str(data), str(folder), json.dumps(settings)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


@pytest.mark.parametrize("store", [Tables, reference.Tables], ids=["native", "oracle"])
def test_a_resumed_run_ends_with_the_same_bits(source, whole, tmp_path, store):
    for steps in (7, 31, 60):  # the second epoch begins after 47
        fit(source, tmp_path, steps=steps, epochs=2, average=0.9, resume=True, store=store)
    assert state_of(tmp_path) == state_of(whole.folder)


def test_saving_along_the_way_changes_nothing(source, whole, tmp_path):
    fit(source, tmp_path, steps=60, epochs=2, average=0.9, save_every=9)
    assert state_of(tmp_path) == state_of(whole.folder)
    assert len(version.versions(tmp_path / "versions")) == 2


def test_with_staleness_a_resumed_run_equals_one_that_saved_at_the_same_steps(source, tmp_path):
    settings = {"epochs": 2, "staleness": 2, "save_every": 10}
    fit(source, tmp_path / "whole", steps=40, **settings)
    for steps in (20, 30, 40):
        fit(source, tmp_path / "parts", steps=steps, resume=True, **settings)
    # Batches that were looked up ahead of a checkpoint are looked up again after it, so the clock of lookups differs.
    assert state_of(tmp_path / "parts", seen=False) == state_of(tmp_path / "whole", seen=False)


def test_the_loss_curve_goes_on_where_it_was(source, tmp_path):
    whole = fit(source, tmp_path / "whole", steps=30, log_every=4)
    for steps in (10, 30):
        parts = fit(source, tmp_path / "parts", steps=steps, log_every=4, resume=True)
    losses = [[(entry["step"], entry["loss"]) for entry in run.metrics["steps"]] for run in (whole, parts)]
    assert [step for step, _ in losses[1]] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert losses[0] == losses[1]
    seconds = [entry["seconds"] for entry in parts.metrics["steps"]]
    assert seconds == sorted(seconds)


def test_a_run_killed_in_the_middle_of_saves_ends_with_the_same_bits(source, whole, tmp_path):
    rng = random.Random(1)
    in_a_save = 0
    for _ in range(12):
        process = train_apart(source, tmp_path, steps=60, epochs=2, average=0.9, save_every=1)
        reached = len(version.versions(tmp_path / "versions"))
        while process.poll() is None:
            names = os.listdir(tmp_path / "versions") if (tmp_path / "versions").exists() else []
            fresh = [name for name in names if name.startswith(".step-") and name.endswith(".new")]
            if fresh and (reached or len(names) > 1):
                time.sleep(rng.random() * 0.02)
                process.kill()
                break
            time.sleep(0.0005)
        assert process.wait() in (-signal.SIGKILL, 0)
        in_a_save += any(name.endswith(".new") for name in os.listdir(tmp_path / "versions"))
        checkpoint.load(tmp_path / "versions")  # what is there is whole
        if in_a_save >= 3:
            break
    assert in_a_save >= 3
    assert 0 < checkpoint.load(tmp_path / "versions").point.step < 60
    assert train_apart(source, tmp_path, steps=60, epochs=2, average=0.9).wait() == 0
    assert state_of(tmp_path) == state_of(whole.folder)


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_resume(source, whole, tmp_path):
    # A save at every step, each synced to disk: the run cannot be over before the signal.
    process = train_apart(source, tmp_path, steps=60, epochs=2, average=0.9, save_every=1, keep=60)
    while len(version.versions(tmp_path / "versions")) < 3:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    step = checkpoint.load(tmp_path / "versions").point.step
    assert 3 <= step < 60
    assert f"stopped after step {step} of 60" in output
    assert "resume=True" in output
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["state"] == "interrupted"
    assert train_apart(source, tmp_path, steps=60, epochs=2, average=0.9).wait() == 0
    assert state_of(tmp_path) == state_of(whole.folder)


def test_a_disk_that_fills_during_a_save_leaves_the_version_before(source, whole, tmp_path):
    fit(source, tmp_path, steps=7, epochs=2, average=0.9)
    before = state_of(tmp_path)
    # A file may grow to 4 KiB and no further: a save fails in the middle, with a real error of the system.
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (4096, 4096))
    process = train_apart(source, tmp_path, limit, steps=60, epochs=2, average=0.9, save_every=5)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "StorageError: " in output
    assert "cannot be written: File too large" in output
    assert state_of(tmp_path) == before
    assert [path.name for path in (tmp_path / "versions").iterdir()] == ["step-0000000007"]
    assert train_apart(source, tmp_path, steps=60, epochs=2, average=0.9).wait() == 0
    assert state_of(tmp_path) == state_of(whole.folder)


def test_a_damaged_file_is_named(source, tmp_path):
    fit(source, tmp_path, steps=3)
    files = [path for path in (tmp_path / "versions").rglob("*") if path.is_file()]
    assert len(files) == 10
    for path in files:
        content = path.read_bytes()
        wrong = bytearray(content)
        wrong[len(wrong) // 2] ^= 4
        path.write_bytes(wrong)
        with pytest.raises(StorageError, match=f"{path.name}' is damaged"):
            fit(source, tmp_path, steps=4, resume=True)
        path.write_bytes(content)
    fit(source, tmp_path, steps=4, resume=True)


def test_the_network_for_use_is_the_moving_average_where_there_is_one(source, whole, tmp_path):
    averaged = checkpoint.load(whole.folder / "versions")
    ranker = problem.ranker(averaged.sample)
    averaged.restore_ranker(ranker)
    found, trained = averaged.network(), safetensors.torch.load(averaged.files["ranker.safetensors"])
    assert found.keys() == ranker.state_dict().keys() == trained.keys()
    assert all(torch.equal(found[name], value) for name, value in ranker.state_dict().items())
    assert any(not torch.equal(found[name], trained[name]) for name in trained)
    fit(source, tmp_path, steps=3)
    plain = checkpoint.load(tmp_path / "versions")
    trained = safetensors.torch.load(plain.files["ranker.safetensors"])
    assert all(torch.equal(value, trained[name]) for name, value in plain.network().items())


def test_another_ranker_optimizer_or_average_is_refused(source, tmp_path):
    fit(source, tmp_path, steps=3)
    found = checkpoint.load(tmp_path / "versions")
    with pytest.raises(ConfigError, match=r"the ranker of .* is not the one given"):
        found.restore_ranker(torch.nn.Linear(2, 3))
    with pytest.raises(ConfigError, match="no moving average; go on with average=0"):
        fit(source, tmp_path, steps=4, resume=True, average=0.9)


def test_there_is_nothing_to_load_in_an_empty_folder(tmp_path):
    assert checkpoint.load(tmp_path) is None


def test_random_generators_go_on_from_their_states():
    generators.seed_all(11)
    plain, tensors = generators.states()
    plain = json.loads(json.dumps(plain))

    def draws():
        return random.random(), random.gauss(0, 1), np.random.normal(), torch.rand(3).tolist()  # noqa: NPY002

    first = draws()
    assert draws() != first
    generators.restore(plain, tensors)
    assert draws() == first
