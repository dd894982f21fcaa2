import hashlib
import json

import numpy as np
import pytest

from larix.embedding import Replica, RowAdagrad, Snapshot, TableSpec, manifest
from larix.embedding.quantize import decode, encode
from larix.embedding.snapshot import Instant, Piece
from larix.errors import ConfigError, StorageError
from larix.serve import rows

SPECS = {
    "video": TableSpec(name="video", dim=5, default=0.25),
    "user / odd": TableSpec(name="user / odd", dim=3, optimizer=RowAdagrad()),
}
INSTANT = Instant(history="abc", sequence=7, steps=9, clock=3)


def snapshot(seed=0):
    draw = np.random.default_rng(seed)

    def pieces():
        for table, count in (("video", 40), ("user / odd", 11), ("video", 1)):
            dim = SPECS[table].dim
            ids = draw.choice(2**63 - 1, count, replace=False).astype(np.int64)
            weights = draw.standard_normal((count, dim)).astype(np.float32)
            zeros = np.zeros(count, np.uint32)
            yield Piece(table, ids, weights, np.ones((count, 1), np.float32), zeros, zeros.astype(np.float32))

    return Snapshot(SPECS, 3, INSTANT, pieces())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "int8"])
def test_rows_come_back_as_serving_would_keep_them(tmp_path, precision):
    assert rows.write(snapshot(), tmp_path / "tables", precision) == 52
    found, kept = rows.read(tmp_path / "tables")
    assert (kept, found.instant, found.specs) == (precision, INSTANT, SPECS)
    for before, after in zip(snapshot(), found, strict=True):
        assert before.table == after.table
        np.testing.assert_array_equal(before.ids, after.ids)
        expected = decode(precision, encode(precision, before.weights), SPECS[before.table].dim)
        np.testing.assert_array_equal(after.weights, expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_replica_of_them_reads_as_one_of_the_snapshot(tmp_path, precision):
    rows.write(snapshot(), tmp_path / "tables", precision)
    ours, theirs = (Replica(list(SPECS.values()), precision=precision) for _ in range(2))
    ours.replace(rows.read(tmp_path / "tables")[0])
    theirs.replace(snapshot())
    for table in SPECS:
        ids = np.append(theirs.keys(table), [12345])
        np.testing.assert_array_equal(ours.lookup(table, ids), theirs.lookup(table, ids))
    assert ours.sequence == 7


def test_int8_rows_encoded_twice_differ_by_the_scale_s_rounding_alone(tmp_path):
    rows.write(snapshot(), tmp_path / "tables", "int8")
    for before, after in zip(snapshot(), rows.read(tmp_path / "tables")[0], strict=True):
        again = decode("int8", encode("int8", after.weights), SPECS[before.table].dim)
        np.testing.assert_allclose(again, after.weights, rtol=3e-7, atol=0)


def test_a_row_of_8_bits_takes_a_byte_a_weight_and_its_scale(tmp_path):
    wide = TableSpec(name="wide", dim=64)
    count = 5000
    ids = np.arange(count)
    weights = np.ones((count, 64), np.float32)
    zeros = np.zeros(count, np.uint32)
    piece = Piece("wide", ids, weights, np.zeros((count, 0), np.float32), zeros, zeros.astype(np.float32))
    rows.write(Snapshot({"wide": wide}, 0, INSTANT, iter([piece])), tmp_path / "t", "int8")
    (file,) = (tmp_path / "t").glob("*.safetensors")
    assert file.stat().st_size < count * (8 + 64 + 4) + 1000


@pytest.mark.parametrize("file", ["manifest.json", "00000.safetensors", "00002.safetensors"])
def test_a_damaged_file_is_named(tmp_path, file):
    rows.write(snapshot(), tmp_path / "tables")
    path = tmp_path / "tables" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(StorageError, match=file):
        list(rows.read(tmp_path / "tables")[0])


NONSENSE = {
    "a table that is not there": lambda body: body["files"][0].update(table="other"),
    "a file elsewhere": lambda body: body["files"][0].update(file="../../00000.safetensors"),
    "rows that it does not have": lambda body: body["files"][0].update(rows=39),
    "no number of rows": lambda body: body["files"][0].update(rows="40"),
    "another table's rows": lambda body: body["files"][0].update(table="user / odd"),
    "another precision": lambda body: body.update(precision="int8"),
    "no precision": lambda body: body.update(precision=["fp32"]),
    "no tables": lambda body: body.pop("specs"),
    "no instant": lambda body: body.update(instant={"history": 1}),
    "files that are a number": lambda body: body.update(files=3),
}


@pytest.mark.parametrize("change", NONSENSE.values(), ids=NONSENSE)
def test_what_is_signed_and_makes_no_sense_is_told_of_its_file(tmp_path, change):
    rows.write(snapshot(), tmp_path / "tables")
    path = tmp_path / "tables" / manifest.NAME
    body = json.loads(path.read_text())
    del body["sha256"]
    change(body)
    signed = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"sha256": signed, **body}))
    with pytest.raises(StorageError, match=r"manifest\.json|00000\.safetensors"):
        list(rows.read(tmp_path / "tables")[0])


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'int4'"):
        rows.write(snapshot(), tmp_path / "tables", "int4")
    assert not list(tmp_path.iterdir())
