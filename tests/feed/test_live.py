import os
import threading

import pytest

from larix.errors import ConfigError, StorageError
from larix.feed import LiveValueModel, ValueModel, WeightedSum
from larix.feed.serial import write

TASKS = ("click", "like")


def model(click):
    return ValueModel(fusion=WeightedSum(weights={"click": click}))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "value.json"
    path.write_text(write(model(1.0)), encoding="utf-8")
    return path


def test_a_change_is_taken_when_asked_for_and_not_before(path):
    live = LiveValueModel(path, TASKS)
    assert not live.refresh()
    path.write_text(write(model(2.0)), encoding="utf-8")
    assert live.current == model(1.0)
    assert live.refresh()
    assert live.current == model(2.0)
    assert not live.refresh()


def test_a_change_of_the_same_length_and_time_is_seen(path):
    live, before = LiveValueModel(path, TASKS), path.stat()
    path.write_text(write(model(3.0)), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert live.refresh()
    assert live.current == model(3.0)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"", "does not parse"),
        (b"\xff\xfe", "not UTF-8"),
        (write(model(2.0)).encode()[:40], "does not parse"),
        (write(ValueModel(fusion=WeightedSum(weights={"likes": 1}))).encode(), r"weighs \['likes'\]"),
    ],
)
def test_a_bad_file_keeps_the_old_model_and_says_why(path, bad, said):
    live, good = LiveValueModel(path, TASKS), path.read_bytes()
    path.write_bytes(bad)
    for _ in range(2):
        assert not live.refresh()
        assert live.current == model(1.0)
        assert "value.json" in live.trouble
    with pytest.raises(ConfigError, match=said) as raised:
        LiveValueModel(path, TASKS)
    assert str(raised.value) == live.trouble
    path.write_bytes(good)
    assert not live.refresh()  # the same model again
    assert live.trouble is None


def test_a_missing_file_keeps_the_old_model_and_says_so(path):
    live, good = LiveValueModel(path, TASKS), path.read_bytes()
    path.unlink()
    assert not live.refresh()
    assert "cannot be read" in live.trouble
    assert live.current == model(1.0)
    path.write_bytes(good)
    assert not live.refresh()
    assert live.trouble is None
    path.write_text(write(model(5.0)), encoding="utf-8")
    assert live.refresh()


def test_there_is_no_start_without_a_good_file(tmp_path):
    with pytest.raises(StorageError, match="cannot be read"):
        LiveValueModel(tmp_path / "none.json", TASKS)


def test_readers_see_whole_models_while_the_file_changes(path):
    live, over, seen = LiveValueModel(path, TASKS), threading.Event(), set()

    def serve():
        while not over.is_set():
            seen.add(float(live.current.value({"click": [1.0]})[0]))

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(200):
        path.write_bytes(b"{" if turn % 3 == 0 else write(model(float(turn % 7 + 1))).encode())
        live.refresh()
    over.set()
    for thread in threads:
        thread.join()
    assert seen <= {float(number) for number in range(1, 8)}
    assert len(seen) > 1
