import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import stock

from larix import compile as lc
from larix.compile import artifact
from larix.embedding import manifest
from larix.errors import ConfigError, StorageError
from larix.feed import DPP, MMR, SSD
from larix.serve import parity
from larix.serve.bundle import Bundle, diversity_json, diversity_of
from larix.serve.parity import ParityError
from larix.serve.request import Stamp
from larix.serve.warm import Warm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle of the shop; not to be changed."""
    return stock.made(tmp_path_factory.mktemp("bundles") / "shop").folder


@pytest.fixture
def copy(folder, tmp_path):
    """A copy to be changed."""
    return shutil.copytree(folder, tmp_path / "shop")


def test_it_holds_what_it_was_made_of(folder):
    bundle, given = Bundle.open(folder), stock.contents()
    assert bundle.sample == given.sample
    assert bundle.signature == given.signature
    assert bundle.value == given.value
    assert bundle.diversity == SSD(gamma=0.5, window=3)
    assert bundle.warm.records.equals(given.warm.records)
    assert {name: value.tolist() for name, value in bundle.graph.weights.items()} == {
        name: value.tolist() for name, value in given.graph.weights.items()
    }
    assert bundle.stamp == Stamp(
        model="shop", version="step-7", history="line", rows=3, dense=3, event_ms=1_700_000_000_000
    )
    assert bundle.manifest["training"]["mark"] == 11
    replica = bundle.replica()
    for table in given.sample.tables:
        ids = stock.trained()[2].keys(table)
        np.testing.assert_array_equal(replica.lookup(table, ids), stock.trained()[2].lookup(table, ids))


def test_loaded_it_says_what_the_trained_network_says(folder):
    bundle = Bundle.open(folder)
    found = bundle.check()
    assert found.error < 1e-5
    loaded, given = bundle.load(streams=2), stock.warm()
    context, candidates = next(given.requests(bundle.signature))
    context, _ = bundle.signature.context_of(context, 0)
    candidates, _ = bundle.signature.candidates_of(candidates)
    looked = loaded.look_up(loaded.user(context), candidates)
    np.testing.assert_allclose(loaded.score([looked])[0], given.logits[0], atol=1e-5)
    assert looked.vectors.shape == (3, 8)
    assert looked.stamp.version == "step-7"


def test_every_file_of_it_is_told_if_it_is_damaged_or_gone(folder, copy):
    files = sorted(path.relative_to(copy) for path in copy.rglob("*") if path.is_file())
    assert len(files) > 25
    for name in files:
        path, whole = copy / name, (folder / name).read_bytes()
        if whole:
            broken = bytearray(whole)
            broken[len(broken) // 2] ^= 1
            path.write_bytes(broken)
            with pytest.raises(StorageError) as caught:
                Bundle.open(copy)
            assert str(path) in str(caught.value)
            path.write_bytes(whole[: len(whole) // 2])
            with pytest.raises(StorageError) as caught:
                Bundle.open(copy)
            assert str(path) in str(caught.value)
        path.unlink()
        with pytest.raises(StorageError) as caught:
            Bundle.open(copy)
        assert str(path) in str(caught.value)
        path.write_bytes(whole)
    Bundle.open(copy)


def test_a_manifest_of_something_else_is_refused(folder, tmp_path):
    with pytest.raises(StorageError, match="cannot be read"):
        Bundle.open(tmp_path)
    manifest.write(tmp_path / "other", lambda _: {"format": 1, "files": {}})
    with pytest.raises(StorageError, match="is no bundle"):
        Bundle.open(tmp_path / "other")


def test_a_network_that_says_something_else_is_found_by_check(copy):
    """Its files are whole, but they are not those of its samples."""
    bundle = Bundle.open(copy)
    logits = bundle.warm.logits.copy()
    logits[5, 1, 0] += 0.01
    (copy / "warm.arrow").write_bytes(Warm(bundle.warm.records, logits).to_bytes())
    with pytest.raises(ParityError, match="5, 1, 0"):
        Bundle(copy, bundle.manifest).check()


def test_it_holds_no_pickle_and_no_source(folder):
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert content[:2] not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"), path
        assert b"class Net" not in content


def test_it_loads_without_training_code_or_the_network_s_class(folder):
    script = textwrap.dedent(
        f"""
        import sys
        from larix.serve.bundle import Bundle
        bundle = Bundle.open({str(folder)!r})
        print(bundle.check().error)
        there = [name for name in sys.modules if name.startswith(("larix.train", "larix.data", "larix.recipes", "larix.cli"))]
        assert not there, there
        assert not {{"stock", "shop", "pickle5", "torch._dynamo"}} & set(sys.modules), sorted(sys.modules)
        """
    )
    source = os.path.dirname(os.path.dirname(lc.__file__))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.path.dirname(source)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5


def test_another_machine_compiles_it_for_itself_beside_what_is_there(tmp_path, monkeypatch):
    small, _ = lc.optimise(stock.contents().graph)
    products = lc.everywhere(small, "bf16")
    before = stock.made(tmp_path / "shop", products=products, held_out=stock.held_out())
    monkeypatch.setattr(artifact, "instruction_set", lambda: "riscv64-vector")
    with pytest.raises(ConfigError, match=r"nothing compiled for .* on riscv64-vector"):
        before.check()
    after = before.compile_here(backend=lc.Eager())
    assert after.check().error == before.manifest["parity"]["error"]
    monkeypatch.undo()
    again = Bundle.open(tmp_path / "shop")
    assert again.check().error == before.manifest["parity"]["error"]
    assert again.precision == products
    assert set(before.manifest["files"]) < set(again.manifest["files"])
    assert {name for name in again.manifest["files"] if "riscv64" in name}
    shared = {name: again.manifest["files"][name] for name in before.manifest["files"]}
    assert shared == before.manifest["files"]
    assert again.manifest["parity"] == before.manifest["parity"]
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def full(*_):
    raise OSError(28, "No space left on device")


def off(*_):
    raise ParityError("a logit is off")


@pytest.mark.parametrize(
    ("owner", "name", "fails", "error"),
    [(lc.Eager, "compile", full, StorageError), (parity, "check_logits", off, ParityError)],
)
def test_compiling_again_that_fails_leaves_it_as_it_was(copy, monkeypatch, owner, name, fails, error):
    monkeypatch.setattr(owner, name, fails)
    with pytest.raises(error):
        Bundle.open(copy).compile_here(backend=lc.Eager())
    monkeypatch.undo()
    Bundle.open(copy).check()
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


@pytest.mark.parametrize("method", [None, MMR(balance=0.5), DPP(window=None), SSD(gamma=2.0)])
def test_a_way_of_choosing_pages_survives_json(method):
    told = json.loads(json.dumps(diversity_json(method)))
    assert (None if told is None else diversity_of(told)) == method


@pytest.mark.parametrize("told", [{}, {"kind": "best"}, {"kind": "ssd", "speed": 1}])
def test_an_unknown_way_of_choosing_pages_is_refused(told):
    with pytest.raises(ConfigError, match="diversity"):
        diversity_of(told)


def test_a_way_of_one_s_own_cannot_be_kept():
    class Mine:
        def page(self, relevance, vectors, count): ...

    with pytest.raises(ConfigError, match="cannot be kept"):
        diversity_json(Mine())
