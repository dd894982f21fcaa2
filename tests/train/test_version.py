import json
import os

import pytest

from larix.errors import StorageError
from larix.train import version


def nothing(folder):
    pass


def test_a_version_gives_back_its_files(tmp_path):
    target = version.path_of(tmp_path, 12)
    version.write(target, {"a": b"one", "b": b""}, nothing)
    assert version.versions(tmp_path) == [target]
    assert version.read(target) == {"a": b"one", "b": b""}


def test_all_of_a_version_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []

    def sync(path):
        there = version.versions(tmp_path)
        synced.append((path.relative_to(tmp_path).as_posix(), bool(there)))

    monkeypatch.setattr(version, "sync", sync)
    write_with_folder(tmp_path)
    *before, last = synced
    fresh = ".step-0000000001.new"
    names = ("", "/a", "/b", "/manifest.json", "/tables", "/tables/manifest.json")
    assert sorted(before) == sorted((fresh + name, False) for name in names)
    assert last == (".", True)  # and the name is, too, before write returns


def test_the_newest_versions_are_kept(tmp_path):
    for step in (5, 40, 1000):
        version.write(version.path_of(tmp_path, step), {}, nothing)
    version.prune(tmp_path, 2)
    assert [path.name for path in version.versions(tmp_path)] == ["step-0000000040", "step-0000001000"]
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_save_that_was_cut_off_left_is_no_version_and_goes_away(tmp_path):
    (tmp_path / ".step-0000000007.new").mkdir()
    (tmp_path / ".step-0000000003.gone").mkdir()
    assert version.versions(tmp_path) == []
    version.write(version.path_of(tmp_path, 7), {"a": b"1"}, nothing)
    assert os.listdir(tmp_path) == ["step-0000000007"]


def write_with_folder(tmp_path):
    def rows(fresh):
        (fresh / "tables").mkdir()
        (fresh / "tables" / "manifest.json").write_text("{}")

    target = version.path_of(tmp_path, 1)
    version.write(target, {"a": b"some bytes", "b": b"more"}, rows)
    return target


@pytest.mark.parametrize("name", ["a", "b", "tables/manifest.json", "manifest.json"])
def test_a_damaged_file_is_named(tmp_path, name):
    path = write_with_folder(tmp_path) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match=f"{name}' is damaged.*remove the folder 'step-0000000001'"):
        version.read(path.parent if name != "tables/manifest.json" else path.parent.parent)


@pytest.mark.parametrize("name", ["a", "tables/manifest.json", "manifest.json"])
def test_a_missing_file_is_named(tmp_path, name):
    target = write_with_folder(tmp_path)
    (target / name).unlink()
    with pytest.raises(StorageError, match=f"{name}' is damaged: No such file"):
        version.read(target)


def test_a_version_of_another_format_is_refused(tmp_path):
    target = write_with_folder(tmp_path)
    manifest = json.loads((target / "manifest.json").read_text())
    (target / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(StorageError, match="format 2 but this larix reads 1"):
        version.read(target)


def test_a_write_that_fails_leaves_the_version_before(tmp_path):
    before = version.path_of(tmp_path, 1)
    version.write(before, {"a": b"1"}, nothing)

    def full(fresh):
        (fresh / "rows").write_bytes(b"part")
        with open("/dev/full", "wb") as device:
            device.write(b"x" * 10_000)

    with pytest.raises(StorageError, match="step-0000000002' cannot be written: No space left"):
        version.write(version.path_of(tmp_path, 2), {"a": b"2"}, full)
    assert os.listdir(tmp_path) == ["step-0000000001"]
    assert version.read(before) == {"a": b"1"}
