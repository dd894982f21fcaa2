import hashlib
import json
import resource

import numpy as np
import pytest
import versions
from safetensors.numpy import load_file

from larix.embedding import (
    SGD,
    Adagrad,
    Adam,
    Constant,
    Normal,
    RowAdagrad,
    TableSpec,
    reference,
    snapshot,
    storage,
    table,
    tensors,
)
from larix.errors import ConfigError, StorageError

SPECS = [
    TableSpec(name="plain", dim=3, optimizer=SGD(), init=Normal()),
    TableSpec(name="a/b c", dim=16, optimizer=Adam()),
    TableSpec(name="ä" * 200, dim=1, optimizer=Adagrad(), init=Constant(value=0.5)),
    TableSpec(name="empty", dim=2),
]


@pytest.fixture
def saved(store, tmp_path):
    tables = store(SPECS, seed=11)
    for name in list(tables.specs)[:3]:
        ids = np.concatenate([np.arange(100), [np.iinfo(np.int64).min, np.iinfo(np.int64).max]])
        tables.lookup(name, ids, insert=True)
        tables.update(name, ids, np.ones((len(ids), tables.specs[name].dim), np.float32))
    tables.save(tmp_path / "v1")
    return tables


def contents(tables):
    return [array.tobytes() for name in tables.specs for array in tables.items(name)]


@pytest.mark.parametrize("other", [reference.Tables, table.Tables])
def test_what_one_store_saves_another_loads_whole_and_goes_on_alike(saved, other, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_ROWS", 7)  # several pieces
    loaded = other.load(tmp_path / "v1", threads=2)
    assert (loaded.specs, loaded.seed) == (saved.specs, saved.seed)
    assert contents(loaded) == contents(saved)
    for tables in (saved, loaded):  # a row not yet born is born alike, optimizer state goes on
        tables.lookup("a/b c", np.array([12345]), insert=True)
        tables.update("a/b c", np.array([5]), np.ones((1, 16), np.float32))
    assert contents(loaded) == contents(saved)


def test_files_are_safetensors_of_some_rows_that_others_read(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "PIECE_BYTES", 2000)
    saved.save(tmp_path / "v1")
    files = sorted(path.name for path in (tmp_path / "v1").iterdir())
    assert files[:2] == ["000-plain.0000.safetensors", "000-plain.0001.safetensors"]
    parts = [load_file(tmp_path / "v1" / name) for name in files if name.startswith("001-a%2Fb c.")]
    assert len(parts) > 2
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(arrays["ids"])
    for name, array in zip(("ids", "weights", "state"), saved.items("a/b c"), strict=True):
        assert np.array_equal(arrays[name][order], array)
    assert arrays["seen"].dtype == np.uint32
    assert arrays["score"].dtype == np.float32
    assert contents(table.Tables.load(tmp_path / "v1", threads=3)) == contents(saved)


def test_what_was_seen_when_comes_back_and_so_do_the_counters(saved, tmp_path):
    ids, rows = np.array([5, -5]), (np.ones((2, 3), np.float32), np.zeros((2, 0), np.float32))
    saved.clock = 1234
    saved.put(
        "plain", ids, *rows, seen=np.array([7, 2**32 - 1], np.uint32), score=np.array([0.5, 2], np.float32)
    )
    saved.cut()
    saved.save(tmp_path / "v1")
    loaded = type(saved).load(tmp_path / "v1")
    assert versions.contents(loaded) == versions.contents(saved)
    now = [(s.sequence, s.steps, s.clock) for s in (saved, loaded)]
    assert now[0] == now[1]
    assert loaded.kept is None
    assert loaded.origin.same_state(saved.snapshot().instant)
    assert loaded.history != saved.history


def test_a_version_of_the_first_format_still_loads(saved, tmp_path):
    """One file a table, by rising id; without seen and score, without an instant."""
    folder, tables = tmp_path / "old", []
    folder.mkdir()
    for number, (name, spec) in enumerate(saved.specs.items()):
        ids, weights, state = saved.items(name)
        columns = {"ids": tensors.Tensor("I64", ids), "weights": tensors.Tensor("F32", weights)}
        columns["state"] = tensors.Tensor("F32", state)
        entry = {"spec": spec.to_json(), "rows": len(ids), "file": f"{number}.safetensors"}
        tables.append(entry | {"sha256": tensors.write(folder / entry["file"], columns)})
    body = {"format": 1, "seed": 11, "tables": tables}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"sha256": digest} | body))
    loaded = type(saved).load(folder)
    assert (loaded.specs, loaded.seed, contents(loaded)) == (saved.specs, 11, contents(saved))


def test_a_save_replaces_the_version_that_was_there(saved, tmp_path):
    saved.remove("plain", np.arange(50))
    saved.save(tmp_path / "v1")
    assert contents(type(saved).load(tmp_path / "v1")) == contents(saved)
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def test_a_disk_that_fills_leaves_the_version_that_was_there(saved, tmp_path):
    before = contents(saved)
    saved.lookup("plain", np.arange(1_000_000, 1_010_000), insert=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # the system refuses to write further
    try:
        with pytest.raises(StorageError, match=r"v1' cannot be written: .*what was there is untouched"):
            saved.save(tmp_path / "v1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(type(saved).load(tmp_path / "v1")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def test_a_save_that_died_between_its_renames_is_read_from_where_it_left_the_old_version(saved, tmp_path):
    (tmp_path / "v1").rename(tmp_path / ".v1.old")
    assert contents(type(saved).load(tmp_path / "v1")) == contents(saved)
    saved.save(tmp_path / "v1")
    assert contents(type(saved).load(tmp_path / "v1")) == contents(saved)


def damaged_files():
    return ["000-plain.0000.safetensors", "001-a%2Fb c.0000.safetensors", "manifest.json"]


@pytest.mark.parametrize("name", damaged_files())
@pytest.mark.parametrize("how", ["flip", "cut", "empty", "gone"])
def test_a_damaged_file_is_named(saved, tmp_path, name, how):
    path = tmp_path / "v1" / name
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[:-5], "empty": b""}.get(how, data))
    if how == "gone":
        path.unlink()
    with pytest.raises(StorageError, match=name.replace("/", ".")):
        type(saved).load(tmp_path / "v1")


def test_every_byte_of_a_manifest_counts(saved, tmp_path):
    path = tmp_path / "v1" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"seed": 12}))
    with pytest.raises(StorageError, match=r"manifest.json' is damaged: it does not match its own checksum"):
        type(saved).load(tmp_path / "v1")


def signed_anew(path, change):
    """A manifest whose body ``change`` has made another, under a checksum that is right."""
    body = json.loads(path.read_text())
    del body["sha256"]
    change(body)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"sha256": digest} | body))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda body: body.pop("seed"), "there is no 'seed'"),
        (lambda body: body.update(seed="7"), "'str' object cannot be interpreted as an integer"),
        (lambda body: body.update(tables=[7]), "not subscriptable"),
        (lambda body: body["instant"].update(clock=2**32), "Instant.clock is 4294967296"),
        (lambda body: body["instant"].update(history=None), "history is None, not a text"),
        (lambda body: body["instant"].update(more=1), "unexpected keyword argument 'more'"),
        (lambda body: body["tables"].append(body["tables"][0]), "table 'plain' is declared twice"),
        (lambda body: body["tables"][0]["spec"].update(dim="3"), "table 'plain' has dim '3'"),
        (lambda body: body["tables"][0]["spec"]["optimizer"].update(kind="New"), "'New' is not one of"),
        (lambda body: body["tables"][0]["spec"]["optimizer"].update(lr="1"), "not supported between"),
        (
            lambda body: body["tables"][0]["files"][0].update(file="../v1/manifest.json"),
            "not the name of a file",
        ),
        (lambda body: body["tables"][0]["files"][0].update(file="a\0"), "not the name of a file"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_named_though_its_checksum_is_right(
    saved, tmp_path, change, sentence
):
    path = tmp_path / "v1" / "manifest.json"
    signed_anew(path, change)
    with pytest.raises(StorageError, match=f"manifest.json' is damaged, or a larix wrote it .*{sentence}"):
        storage.read(tmp_path / "v1")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda body: body["tables"][0]["files"][0].update(rows=101),
            r"'ids' is int64 \[102\], not int64 \[101\]",
        ),
        (lambda body: body["tables"][0]["spec"].update(dim=4), r"'weights' is float32 \[102, 3\]"),
        (lambda body: body["tables"][0]["files"][0].update(sha256=7), "its SHA-256 is .*, not 7"),
    ],
)
def test_a_file_that_is_not_what_its_manifest_says_is_named(saved, tmp_path, change, sentence):
    signed_anew(tmp_path / "v1" / "manifest.json", change)
    with pytest.raises(StorageError, match=f"000-plain.0000.safetensors' is damaged.*{sentence}"):
        list(storage.read(tmp_path / "v1"))


def changed(**fields):
    return [
        TableSpec(**({"name": s.name, "dim": s.dim, "optimizer": s.optimizer} | fields.get(s.name, {})))
        for s in SPECS
    ]


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        (
            changed(plain={"dim": 4}),
            "table 'plain' has dim 3 in .* but 4 was asked for; set dim=3 or rebuild the table",
        ),
        (
            changed(plain={"optimizer": RowAdagrad()}),
            "table 'plain' has SGD state in .* but RowAdagrad was asked for",
        ),
        (SPECS[:3], "holds table 'empty', which is not among"),
    ],
)
def test_specs_that_do_not_fit_the_saved_tables_are_refused(saved, tmp_path, specs, sentence):
    with pytest.raises(ConfigError, match=sentence):
        type(saved).load(tmp_path / "v1", specs=specs)


def test_settings_may_change_and_tables_be_added_on_loading(saved, tmp_path):
    specs = [*changed(plain={"optimizer": SGD(lr=7.0)}), TableSpec(name="new", dim=5)]
    loaded = type(saved).load(tmp_path / "v1", specs=specs)
    assert loaded.specs["plain"].optimizer == SGD(lr=7.0)
    assert (loaded.rows("new"), loaded.rows("plain")) == (0, 102)


@pytest.mark.parametrize("kept", ["bf16", "fp16"])
def test_rows_are_saved_as_they_are_kept_and_come_back_in_any_precision(store, tmp_path, kept):
    tables = store([TableSpec(name="a", dim=7, precision=kept)])
    ids = np.arange(50)
    values = np.random.default_rng(1).standard_normal((50, 7)).astype(np.float32)
    values[:3, 0] = np.inf, -np.inf, np.nan
    tables.put("a", ids, values, np.ones((50, 1), np.float32))
    tables.save(tmp_path / "half")
    (file,) = (tmp_path / "half").glob("*.safetensors")
    assert {"bf16": b'"BF16"', "fp16": b'"F16"'}[kept] in file.read_bytes()
    for precision in ("fp32", kept):
        loaded = store.load(tmp_path / "half", specs=[TableSpec(name="a", dim=7, precision=precision)])
        assert contents(loaded) == contents(tables)
    whole = store([TableSpec(name="a", dim=7)])
    whole.put("a", ids, values, np.ones((50, 1), np.float32))
    whole.save(tmp_path / "whole")
    assert contents(store.load(tmp_path / "whole", specs=list(tables.specs.values()))) == contents(tables)
