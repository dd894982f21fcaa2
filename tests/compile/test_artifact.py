import json
from functools import cache

import numpy as np
import pytest
import torch
from nets import experts, feed, outputs

from larix import compile as lc
from larix.compile import artifact as module
from larix.errors import ConfigError, StorageError


@cache
def captured():
    return lc.capture(
        experts(), {"x": torch.randn(4, 12)}, per_request={"x": [("u", 8, True), ("c", 4, False)]}
    )


def made(folder, **settings):
    graph = captured()
    small, _ = lc.optimise(graph)
    return graph, lc.compile(
        small, folder, captured=graph.inputs, backend=lc.Eager(), buckets=(4, 2), **settings
    )


def test_an_artifact_is_found_and_answers_what_the_net_answers(tmp_path):
    graph, artifact = made(tmp_path)
    assert artifact.folder.name.startswith("eager-")
    session = lc.load(tmp_path)
    whole = feed(graph, rows=3)
    np.testing.assert_allclose(
        session.run(session.parts(whole))["output"], outputs(graph, whole, 3)["output"], rtol=1e-5, atol=1e-6
    )


def test_its_manifest_says_buckets_precision_and_what_was_measured(tmp_path):
    graph = captured()
    small, _ = lc.optimise(graph)
    given = lc.Samples(arrays={each.name: feed(small, 64, requests=64)[each.name] for each in small.inputs})
    precision = lc.choose(
        small, given, lc.Bound(error=0.5, auc_loss=None, calibration=None), offered=("bf16",)
    )
    artifact = lc.compile(small, tmp_path, backend=lc.Eager(), buckets=(2,), precision=precision)
    found = lc.find(tmp_path)
    assert found.manifest == artifact.manifest
    assert found.precision == precision
    assert found.buckets == (2,)
    assert found.manifest["version"] == torch.__version__


def test_compiling_again_takes_the_place_of_what_was_there(tmp_path):
    made(tmp_path)
    _, artifact = made(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [artifact.folder.name]


def test_it_holds_no_pickle(tmp_path):
    _, artifact = made(tmp_path)
    for path in artifact.folder.iterdir():
        assert not path.read_bytes().startswith((b"\x80", b"PK")), path.name


@pytest.mark.parametrize("name", ["graph.json", "weights.safetensors", "manifest.json"])
def test_a_flipped_byte_is_named(tmp_path, name):
    _, artifact = made(tmp_path)
    path = artifact.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match=name):
        lc.load(artifact)


def test_a_missing_file_is_named(tmp_path):
    _, artifact = made(tmp_path)
    (artifact.folder / "weights.safetensors").unlink()
    with pytest.raises(StorageError, match=r"weights\.safetensors"):
        lc.load(artifact)


def test_an_artifact_of_another_machine_is_not_taken(tmp_path, monkeypatch):
    made(tmp_path)
    monkeypatch.setattr(module, "instruction_set", lambda: "riscv64-rvv")
    with pytest.raises(ConfigError, match=r"has nothing compiled for .* on riscv64-rvv; it has \['eager-"):
        lc.load(tmp_path)


def test_an_artifact_of_another_version_of_its_back_end_is_not_loaded(tmp_path, monkeypatch):
    _, artifact = made(tmp_path)
    monkeypatch.setattr(lc.Eager, "version", lambda self: "99")
    with pytest.raises(ConfigError, match=r"compiled for version .* here it is 99; compile it here"):
        lc.load(artifact)


def test_a_full_disk_leaves_the_artifact_that_was_there(tmp_path, monkeypatch):
    _, artifact = made(tmp_path)
    before = json.loads((artifact.folder / "manifest.json").read_text())

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(StorageError, match="cannot be written: No space left"):
        made(tmp_path)
    monkeypatch.undo()
    assert json.loads((lc.find(tmp_path).folder / "manifest.json").read_text()) == before


@pytest.mark.parametrize("buckets", [(), (0,), (2.5,)])
def test_buckets_are_numbers_of_candidates(tmp_path, buckets):
    with pytest.raises(ConfigError, match="give one or more numbers of candidates"):
        lc.compile(captured(), tmp_path, backend=lc.Eager(), buckets=buckets)


def test_a_precision_that_the_back_end_lacks_is_refused(tmp_path):
    graph = captured()
    with pytest.raises(ConfigError, match=r"onnxruntime does not compute in \['bf16'\]"):
        lc.compile(graph, tmp_path, backend=lc.OnnxRuntime(), precision=lc.everywhere(graph, "bf16"))
    with pytest.raises(ConfigError, match="streams is 0"):
        lc.load(lc.compile(graph, tmp_path, backend=lc.Eager(), buckets=(2,)), streams=0)
