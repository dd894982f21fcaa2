"""A save is whole and checked, costs what is new, and leaves the joiner as it was when it fails."""

import errno
import json
import os

import pytest
from join_events import act, events, said, show, spec_of

from larix.data.join import Joiner
from larix.errors import ConfigError, StorageError

ONE = {"shows": 1, "acts": 1}


def pushed(joiner, first, rows=20_000):
    """Enough rows that a chunk is left alone."""
    numbers = range(first, first + rows)
    joiner.push(
        [
            events("shows", *[show(n, 1000 + n // 100, x=n) for n in numbers]),
            events("acts", *[act("watch", n, 1000 + n // 100, ms=n) for n in numbers]),
        ]
    )


@pytest.fixture
def saved(tmp_path):
    joiner = Joiner(spec_of(), partitions=ONE, spill=tmp_path / "work")
    pushed(joiner, 0, rows=300)
    joiner.save(tmp_path / "save")
    return tmp_path / "save"


def load(folder):
    return Joiner.load(spec_of(), folder)


def test_files_that_did_not_change_are_links(tmp_path):
    joiner = Joiner(spec_of(), partitions=ONE, spill=tmp_path / "work")
    pushed(joiner, 0)
    joiner.save(tmp_path / "one")
    pushed(joiner, 20_000)
    joiner.save(tmp_path / "two")
    one, two = (
        {path.name: path.stat().st_ino for path in (tmp_path / name).iterdir()} for name in ("one", "two")
    )
    shared = one.keys() & two.keys() - {"manifest.json"}
    assert len(shared) == 2
    assert all(one[name] == two[name] for name in shared)
    assert len(two) == 5
    written = sum((tmp_path / "two" / name).stat().st_size for name in two.keys() - one.keys())
    assert written < 20_000 * 200


def test_a_save_outlives_the_joiner_and_later_saves(tmp_path):
    joiner = Joiner(spec_of(), partitions=ONE, spill=tmp_path / "work")
    pushed(joiner, 0)
    joiner.save(tmp_path / "save")
    expected = said(Joiner.load(spec_of(), tmp_path / "save").finish())
    joiner.finish()
    joiner.save(tmp_path / "later")
    joiner.close()
    Joiner(spec_of(), partitions=ONE, spill=tmp_path / "work").close()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["lease"]
    assert said(load(tmp_path / "save").finish()) == expected
    assert len(expected) == 20_000
    assert len(load(tmp_path / "later").finish()) == 0


def test_saved_on_another_disk_it_is_a_copy(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    joiner = Joiner(spec_of(), partitions=ONE, spill=tmp_path / "work")
    pushed(joiner, 0, rows=300)
    joiner.save(tmp_path / "save")
    assert len(load(tmp_path / "save").finish()) == 300


@pytest.mark.parametrize("kind", ["impressions", "actions", "manifest"])
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_damaged_file_is_named(saved, kind, how):
    (path,) = saved.glob(f"{kind}*")
    raw = bytearray(path.read_bytes())
    if how == "flip":
        raw[len(raw) // 2] ^= 4
        path.write_bytes(raw)
    elif how == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    else:
        path.unlink()
    with pytest.raises(StorageError, match=f"{path.name}' is damaged"):
        load(saved)


def test_a_format_of_the_future_is_told(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(StorageError, match="format 2, but this larix reads 1"):
        load(saved)


def test_another_spec_is_refused_with_what_differs(saved):
    with pytest.raises(ConfigError, match="state of another join: emit, window_s differ"):
        Joiner.load(spec_of(window_s=2, emit="at_once"), saved)


def test_a_folder_with_something_in_it_is_refused_and_stays(saved):
    before = sorted(path.name for path in saved.iterdir())
    joiner = Joiner(spec_of(), partitions=ONE)
    with pytest.raises(ConfigError, match="is not empty"):
        joiner.save(saved)
    assert sorted(path.name for path in saved.iterdir()) == before
    assert len(load(saved).finish()) == 300


def test_a_full_disk_fails_the_save_and_the_joiner_goes_on(tmp_path, monkeypatch):
    joiner, other = (Joiner(spec_of(), partitions=ONE, spill=tmp_path / name) for name in ("a", "b"))
    for each in (joiner, other):
        pushed(each, 0, rows=300)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", full)
        with pytest.raises(StorageError, match="No space left"):
            joiner.save(tmp_path / "save")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["lease"]
    for each in (joiner, other):
        pushed(each, 300, rows=300)
        each.save(tmp_path / f"save{id(each)}")
    assert joiner.finish().equals(other.finish())
