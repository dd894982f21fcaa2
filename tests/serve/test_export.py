import json
import resource
from dataclasses import replace

import pyarrow as pa
import pytest
import stock

from larix import compile as lc
from larix.embedding import Tables, TableSpec
from larix.errors import ConfigError, StorageError
from larix.serve.bundle import Bundle
from larix.serve.parity import ParityError
from larix.serve.warm import Warm


def test_what_was_measured_is_in_the_manifest(tmp_path):
    told = stock.made(tmp_path / "b").manifest
    assert told["parity"] | {"error": 0} == {"requests": 12, "candidates": 3, "error": 0, "bound": 1e-4}
    assert 0 < told["parity"]["error"] < 1e-5
    assert told["rows"] == {
        "precision": "fp32",
        "count": sum(map(stock.trained()[2].rows, stock.trained()[2].specs)),
    }
    assert told["buckets"] == [4, 8]


def test_openvino_is_within_the_bound_too(tmp_path):
    pytest.importorskip("openvino")
    bundle = stock.made(tmp_path / "b", backend=lc.OpenVINO(), buckets=(4,))
    assert any("openvino-" in name for name in bundle.manifest["files"])
    assert bundle.manifest["parity"]["error"] < 1e-5


def test_it_takes_the_place_of_a_bundle(tmp_path):
    stock.made(tmp_path / "b")
    again = stock.made(tmp_path / "b", bundle=stock.contents(version="step-8"))
    assert Bundle.open(tmp_path / "b").version == again.version == "step-8"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_what_a_killed_export_left_is_in_nobody_s_way(tmp_path):
    before = stock.made(tmp_path / "b")
    (tmp_path / ".b.new" / "compiled").mkdir(parents=True)
    (tmp_path / ".b.new" / "graph.json").write_text("{")
    assert Bundle.open(tmp_path / "b").manifest == before.manifest
    stock.made(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_it_takes_the_place_of_nothing_else(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters").write_text("dear")
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"kind": "tables"}')
    for name in ("home", "file", "other"):
        with pytest.raises(ConfigError, match="holds something else than a bundle"):
            stock.made(tmp_path / name)
    assert (tmp_path / "home" / "letters").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    stock.made(tmp_path / "empty")


def wrong_features():
    """The price comes through a request in 32 bits, but was logged in 64: it is standardised otherwise."""
    signature = stock.signature()
    at = signature.candidates.get_field_index("price")
    narrow = signature.candidates.set(at, pa.field("price", pa.float32()))
    return {"signature": replace(signature, candidates=narrow), "warm": stock.warm(40)}


def wrong_logits():
    given = stock.warm()
    logits = given.logits.copy()
    logits[0, 0, 0] += 0.001
    return {"warm": Warm(given.records, logits)}


def wrong_network():
    declared, *_ = stock.trained()
    other = stock.Net(declared).eval()
    return {"graph": lc.capture_ranker(declared, other, stock.signature().per_request)}


def wrong_rows():
    declared, *_ = stock.trained()
    fresh = Tables([TableSpec(name=name, dim=dim) for name, dim in declared.tables.items()], seed=9)
    return {"snapshot": fresh.snapshot()}


@pytest.mark.parametrize("wrong", [wrong_features, wrong_logits, wrong_network, wrong_rows])
def test_one_that_says_something_else_than_training_is_not_exported(tmp_path, wrong):
    with pytest.raises(ParityError):
        stock.made(tmp_path / "b", bundle=stock.contents(**wrong()))
    assert not list(tmp_path.iterdir())
    before = stock.made(tmp_path / "b")
    with pytest.raises(ParityError):
        stock.made(tmp_path / "b", bundle=stock.contents(**wrong()))
    assert Bundle.open(tmp_path / "b").manifest == before.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("most", [100, 1000, 3000])
def test_a_full_disk_leaves_nothing_behind(tmp_path, most):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    given = stock.contents()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))  # the system refuses to write further
    try:
        with pytest.raises(StorageError, match=r"cannot be written: .*; free some space"):
            stock.made(tmp_path / "b", bundle=given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_bundle_that_was_there(tmp_path):
    before = stock.made(tmp_path / "b")
    limits, given = resource.getrlimit(resource.RLIMIT_FSIZE), stock.contents(version="step-8")
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot be written"):
            stock.made(tmp_path / "b", bundle=given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Bundle.open(tmp_path / "b").manifest == before.manifest


def test_lower_precision_is_not_exported_unmeasured(tmp_path):
    for settings in ({"precision": "int8"}, {"products": lc.Precision(units={"linear": "bf16"})}):
        with pytest.raises(ConfigError, match="has to be measured"):
            stock.made(tmp_path / "b", **settings)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8"])
def test_rows_in_fewer_bits_are_judged_by_what_they_cost(tmp_path, precision):
    bundle = stock.made(tmp_path / "b", precision=precision, held_out=stock.held_out())
    told = bundle.manifest["parity"]
    assert set(told["held_out"]) == {"error", "auc_loss", "calibration"}
    assert told["held_out"]["auc_loss"] <= 0.01
    assert 0 < told["error"] < 0.05
    assert told["bound"] == pytest.approx(max(1e-4, 2 * told["error"]))
    assert bundle.replica().precision == precision
    assert bundle.check().error == told["error"]


def test_products_in_fewer_bits_are_judged_with_the_rows(tmp_path):
    small, _ = lc.optimise(stock.contents().graph)
    products = lc.everywhere(small, "bf16")
    assert products.units
    bundle = stock.made(tmp_path / "b", precision="int8", products=products, held_out=stock.held_out())
    assert bundle.precision == products
    assert bundle.check().error <= bundle.bound


def test_precision_that_costs_too_much_is_not_exported(tmp_path):
    strict = stock.held_out(auc_loss=1e-12, calibration=1e-12)
    with pytest.raises(
        ParityError, match=r"(auc_loss|calibration) of rows and products in lower precision is"
    ):
        stock.made(tmp_path / "b", precision="int8", held_out=strict)
    assert not list(tmp_path.iterdir())


def test_precision_that_nothing_can_judge_is_not_exported(tmp_path):
    given = stock.held_out()
    given.labels[:] = 7.5
    with pytest.raises(ConfigError, match="auc_loss cannot be measured"):
        stock.made(tmp_path / "b", precision="int8", held_out=given)
    assert not list(tmp_path.iterdir())


def test_an_unknown_precision_of_rows_leaves_nothing(tmp_path):
    with pytest.raises(ConfigError, match="'int4'"):
        stock.made(tmp_path / "b", precision="int4", held_out=stock.held_out())
    assert not list(tmp_path.iterdir())


def test_the_manifest_is_plain_json(tmp_path):
    bundle = stock.made(tmp_path / "b")
    told = json.loads((bundle.folder / "manifest.json").read_text())
    assert told["model"] == "shop"
    assert told["tasks"] == ["click", "play_ms"]
    assert told["diversity"] == {"kind": "ssd", "gamma": 0.5, "window": 3}
