import errno
from pathlib import Path

import pytest

from larix.data.write import replacing
from larix.errors import ConfigError, StorageError


def test_a_file_appears_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with replacing(path) as fresh:
            fresh.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_replaces_a_folder_with_files_in_it(tmp_path):
    path = tmp_path / "out"
    for name in ("first", "second"):
        with replacing(path, mark="mine") as fresh:
            (fresh / name).write_text(name)
            (fresh / "mine").touch()
        assert sorted(file.name for file in path.iterdir()) == sorted([name, "mine"])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mark", [None, "a"])
def test_after_an_error_the_old_one_is_there_and_nothing_else(tmp_path, mark):
    path = tmp_path / "out"
    with replacing(path, mark=mark) as fresh:
        (fresh / "a" if mark else fresh).write_text("old")
    with pytest.raises(UnicodeEncodeError), replacing(path, mark=mark) as fresh:
        (fresh / "b" if mark else fresh).write_text("half" * 10_000 + "\ud800", encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "a" if mark else path).read_text() == "old"


def test_a_full_disk_is_a_storage_error_that_names_the_place(tmp_path):
    with (
        pytest.raises(StorageError, match=r"cannot write '.*out': .*No space left.*; free some space"),
        replacing(tmp_path / "out"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_other_system_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out"):
        raise FileNotFoundError(errno.ENOENT, "an input is gone")


def test_a_place_below_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another place"), replacing(tmp_path / "file" / "out"):
        pass


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    path = tmp_path / "thesis"
    path.mkdir()
    with replacing(path, mark="mine") as fresh:
        (fresh / "mine").touch()  # an empty one may be
    (path / "mine").rename(path / "chapter1")
    for place in (path, path / "chapter1"):
        with pytest.raises(ConfigError, match="holds something else"), replacing(place, mark="mine"):
            pass
    assert (path / "chapter1").exists()


def test_where_the_last_step_fails_the_old_folder_comes_back(tmp_path, monkeypatch):
    path = tmp_path / "out"
    with replacing(path, mark="mine") as fresh:
        (fresh / "mine").write_text("old")
    rename = Path.rename

    def fail(self, target):
        if self.name == "out" and self.parent != tmp_path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    def again():
        with replacing(path, mark="mine") as fresh:
            (fresh / "mine").write_text("new")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(StorageError, match="No space left"):
        again()
    assert (path / "mine").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_relative_place_is_below_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing(Path("a.txt")) as fresh:
        fresh.write_text("x")
    assert (tmp_path / "a.txt").read_text() == "x"


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(ConfigError, match=r"out' is a folder; name a file to write"),
        replacing(tmp_path / "out"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
