import errno

import pytest

from larix.data.write import replacing
from larix.errors import StorageError


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
        with replacing(path, folder=True) as fresh:
            (fresh / name).write_text(name)
        assert [file.name for file in path.iterdir()] == [name]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("folder", [False, True])
def test_after_an_error_the_old_one_is_there_and_nothing_else(tmp_path, folder):
    path = tmp_path / "out"
    with replacing(path, folder=folder) as fresh:
        (fresh / "a" if folder else fresh).write_text("old")
    with pytest.raises(UnicodeEncodeError), replacing(path, folder=folder) as fresh:
        (fresh / "b" if folder else fresh).write_text("half" * 10_000 + "\ud800", encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "a" if folder else path).read_text() == "old"


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
