"""Whatever is in a file that is read: it is read right, or a StorageError names it; and no memory is taken but for what is there.

Most inputs are signed anew after they were made wrong: checksums find what chance does to files, and nothing that is behind
them would be tried.
"""

import hashlib
import json
import shutil
import tempfile
import tracemalloc
from contextlib import contextmanager

import google_crc32c
import numpy as np
import pytest
from mutating import Mutator
from versions import SPECS, do, held, make

from larix.embedding import DeltaLog, Follower, Replica, Updater, manifest, snapshot, table, tensors, wire
from larix.errors import LarixError, StorageError

# Bytes of memory by bytes of a file: "[]," of JSON takes 3 there, and 64 here. Files are hashed 4 MiB at a time.
MULTIPLE, LEAST = 100, 8 << 20


@contextmanager
def bounded(size):
    """Fails if more memory is taken than ``size`` bytes of files allow."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    yield
    taken = tracemalloc.get_traced_memory()[1] - before
    assert taken <= MULTIPLE * size + LEAST, f"{taken} bytes were taken for {size}"


@pytest.fixture(autouse=True)
def _traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.fixture
def tables():
    tables, rng = make(table.Tables, threads=1), np.random.default_rng(1)
    for _ in range(12):
        do(tables, rng, most=30)
    return tables


@pytest.fixture
def log(tables, tmp_path, monkeypatch):
    """A log of a base in several files and of three deltas."""
    monkeypatch.setattr(snapshot, "PIECE_BYTES", 300)
    writer, rng = DeltaLog(tmp_path / "log", tables), np.random.default_rng(2)
    for _ in range(3):
        for _ in range(6):
            do(tables, rng, most=30)
        writer.append()
    writer.close()
    return tmp_path / "log"


def told(kind, read):
    """What is read, or None and what an error of this kind says."""
    try:
        return read(), "it is read"
    except kind as error:
        return None, str(error)


def expect_sound(pieces, specs):
    """Arrays are those of their tables, so that native code may have them."""
    for piece in pieces:
        rows, spec = len(piece.ids), specs[piece.table]
        arrays = {
            "<i8": [(piece.ids, (rows,))],
            "<f4": [
                (piece.weights, (rows, spec.dim)),
                (piece.state, (rows, spec.state)),
                (piece.score, (rows,)),
            ],
            "<u4": [(piece.seen, (rows,))],
        }
        for dtype, of in arrays.items():
            for array, shape in of:
                assert (array.dtype, array.shape, array.flags.aligned) == (dtype, shape, True)


def headed(mutator, data, begin, header):
    """``data`` with another header of JSON, whose length is in the ``begin - 4`` or ``- 8`` bytes before it."""
    size = int.from_bytes(data[begin - header : begin], "little")
    text = mutator.text(data[begin : begin + size])
    text += b" " * (-(begin + len(text)) % 8 if mutator.chance(0.9) else 0)
    return data[: begin - header] + len(text).to_bytes(header, "little") + text + data[begin + size :]


# ---- safetensors ----------------------------------------------------------------------------------------------------


def parse_all(inputs, seed, tmp_path):
    mutator, path = Mutator(seed), tmp_path / "rows.safetensors"
    columns = {
        "weights": tensors.Tensor("BF16", np.ones((5, 3), np.float32)),
        "more": tensors.Tensor("F16", np.ones((2, 2), np.float32)),
        "ids": tensors.Tensor("I64", np.arange(5)),
        "none": tensors.Tensor("F32", np.zeros((0, 4), np.float32)),
        "bytes": tensors.Tensor("U8", np.arange(7, dtype=np.uint8)),
    }
    tensors.write(path, columns)
    good, read = path.read_bytes(), 0
    for _ in range(inputs):
        data = headed(mutator, good, 8, 8) if mutator.chance(0.6) else mutator.bytes(good)
        with bounded(len(data)):
            try:
                found = tensors.parse(np.frombuffer(data, np.uint8))
            except ValueError:
                continue
        read += 1
        assert all(array.nbytes <= 2 * len(data) and array.flags.aligned for array in found.values())
    assert inputs / 50 < read < inputs


def test_safetensors_of_any_bytes_are_read_or_no_safetensors(tmp_path):
    parse_all(3000, 1, tmp_path)


# ---- messages -------------------------------------------------------------------------------------------------------


def signed(content):
    return content + int(google_crc32c.value(content)).to_bytes(8, "little")


def message_all(inputs, seed, tables):
    mutator, read = Mutator(seed), 0
    tables.cut()
    for name in tables.specs:
        tables.lookup(name, np.arange(20, 40), insert=True)
    tables.remove("full", np.arange(25))
    changes = tables.changes(tables.kept)
    goods = [wire.to_bytes(changes, state=state) for state in (False, True)]
    replica = Replica(SPECS)
    for _ in range(inputs):
        content = mutator.one(goods)[:-8]
        raw = signed(headed(mutator, content, 8, 4) if mutator.chance(0.5) else mutator.bytes(content))
        raw = mutator.bytes(raw) if mutator.chance(0.05) else raw
        with bounded(len(raw)):
            found, said = told(StorageError, lambda raw=raw: wire.from_bytes(raw))
        if found is None:
            assert "changes" in said
            continue
        read += 1
        expect_sound(
            [of.piece(name) for name, of in found.tables.items() if of.state.shape[1]],
            found.specs,
        )
        if mutator.chance(0.1):
            told(LarixError, lambda found=found: replica.apply(found))
    assert inputs / 50 < read < inputs


def test_messages_of_any_bytes_are_read_or_damaged(tables):
    message_all(3000, 2, tables)


# ---- folders --------------------------------------------------------------------------------------------------------


def write_signed(path, body):
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"sha256": digest} | body))


def damage(mutator, path):
    """Make a file of a version wrong, and sign what vouches for it, mostly; return whether it was signed."""
    told = path.with_name(manifest.NAME)
    body = json.loads(told.read_text())
    del body["sha256"]
    unsigned = mutator.chance(0.1)
    if path != told:
        data = path.read_bytes()
        path.write_bytes(headed(mutator, data, 8, 8) if mutator.chance(0.6) else mutator.bytes(data))
        if not unsigned:
            digest, was = (hashlib.sha256(each).hexdigest() for each in (path.read_bytes(), data))
            write_signed(told, json.loads(json.dumps(body).replace(was, digest)))
    elif unsigned:
        path.write_bytes(
            mutator.text(told.read_bytes()) if mutator.chance(0.3) else mutator.bytes(path.read_bytes())
        )
    else:
        write_signed(path, mutator.json(json.dumps(body)))
    return not unsigned


def read_log(mutator, log, tables):
    """Read it in one of the ways there are, and return the rows, if that gives them."""
    match mutator.below(20):
        case 0:
            table.Tables.load(log, specs=SPECS, threads=1)
        case 1:
            Replica.load(log)
        case 2:
            Updater(Replica(SPECS), log).poll()
        case 3:
            with tempfile.TemporaryDirectory(dir=log.parent, prefix="log") as copy:  # it may write there
                shutil.copytree(log, copy, dirs_exist_ok=True)
                DeltaLog(copy, tables).close()
        case _:
            follower = Follower(log)
            rows = follower.rows()
            expect_sound(rows.values(), follower.specs)
            return rows
    return None


def read_all(inputs, seed, log, tables):
    mutator, read, whole = Mutator(seed), 0, held(Follower(log).rows().values())
    paths = sorted(log.glob("*/*"))
    files = {path: path.read_bytes() for path in paths}
    size = sum(map(len, files.values()))
    for _ in range(inputs):
        path = mutator.one([mutator.one(paths), *(path for path in paths if path.name == manifest.NAME)])
        was_signed = damage(mutator, path)
        with bounded(size + path.stat().st_size):
            rows, said = told(LarixError, lambda: read_log(mutator, log, tables))
        assert said == "it is read" or str(log) in said, said
        if rows is not None:
            read += 1
            assert was_signed or held(rows.values()) == whole
        for each in {path, path.with_name(manifest.NAME)}:
            each.write_bytes(files[each])
    assert inputs / 50 < read < inputs


def test_a_log_of_any_files_is_read_or_what_is_wrong_is_named(log, tables):
    read_all(500, 3, log, tables)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("reader", ["safetensors", "messages", "logs"])
def test_a_million_inputs_are_read_or_what_is_wrong_is_named(reader, log, tables, tmp_path):
    match reader:
        case "safetensors":
            parse_all(700_000, 4, tmp_path)
        case "messages":
            message_all(280_000, 5, tables)
        case "logs":
            read_all(20_000, 6, log, tables)
