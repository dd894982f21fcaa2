import subprocess
import sys

import pytest

from larix.data.log.head import Head
from larix.errors import StorageError


@pytest.fixture
def path(tmp_path):
    Head.create(tmp_path / "head")
    return tmp_path / "head"


def test_a_new_head_is_at_the_beginning(path):
    with Head(path) as head:
        assert (head.visible, head.durable) == (0, 0)


def test_what_one_process_writes_another_sees_without_a_system_call(path):
    code = (
        "import sys; from pathlib import Path; from larix.data.log.head import Head\n"
        "head = Head(Path(sys.argv[1]), write=True); head.show(2**40 + 7); head.assure(2**40 + 3)"
    )
    with Head(path) as head:
        subprocess.run([sys.executable, "-c", code, path], check=True, env={"PYTHONPATH": ":".join(sys.path)})
        assert (head.visible, head.durable) == (2**40 + 7, 2**40 + 3)


def test_a_writer_killed_between_two_words_leaves_a_head_that_does_not_know(path):
    with Head(path, write=True) as head:
        head.show(9)
        head.assure(9)
        raw = bytearray(path.read_bytes())
    raw[8:16] = (12).to_bytes(8, "little")
    path.write_bytes(raw)
    with Head(path) as head:
        assert (head.visible, head.durable) == (9, None)


def test_making_a_head_again_leaves_the_one_that_is_there(path):
    with Head(path, write=True) as head:
        head.show(5)
    Head.create(path)
    with Head(path) as head:
        assert head.visible == 5
    assert [each.name for each in path.parent.iterdir()] == ["head"]


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_a_head_that_is_gone_or_cut_is_named(path, content):
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match=r"head' cannot be read"):
        Head(path)
