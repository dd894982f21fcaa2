"""Rows in memory that processes share: who maps them reads what who loaded them does, and none sees another's changes."""

import fcntl
import os
import resource
import subprocess
import threading
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import replicas
from hypothesis import given, settings
from hypothesis import strategies as st
from sharing import Process
from test_histories import random_batch, worlds

from larix.embedding import Levels, Replica, TableSpec
from larix.embedding.image import Images
from larix.embedding.quantize import Format
from larix.errors import ConfigError, StorageError

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="only Linux has memory without a name"
)
PRECISIONS = get_args(Format)
SPECS = [TableSpec(name="a", dim=3, default=0.5), TableSpec(name="b", dim=8), TableSpec(name="c", dim=3)]
STAMP = bytes(range(32))
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def drawn(rng, most, specs=SPECS):
    """Ids that meet one another often, and their weights, by table."""
    rows = {}
    for spec in specs:
        ids = rng.choice(4 * most, most, replace=False).astype(np.int64) - most
        ids = ids[: rng.integers(0, most + 1)]
        rows[spec.name] = (ids, rng.standard_normal((len(ids), spec.dim)).astype(np.float32))
    return rows


def loaded(precision, rows, specs=SPECS):
    replica = Replica(specs, precision=precision)
    replica.replace(replicas.snapshot(specs, 1, rows))
    return replica


def adopted(of, stamp=STAMP, instant=None):
    replica = Replica(list(of.specs.values()), precision=of.precision)
    replica.adopt(of.image, stamp, of.instant if instant is None else instant)
    return replica


def assert_alike(one, other):
    assert (one.sequence, one.instant, len(one)) == (other.sequence, other.instant, len(other))
    for name in one.specs:
        ids = one.keys(name)
        np.testing.assert_array_equal(other.keys(name), ids)
        assert one.rows(name) == other.rows(name) == len(ids)
        asked = np.concatenate([ids, ids + 1])
        assert one.lookup(name, asked).tobytes() == other.lookup(name, asked).tobytes()


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(PRECISIONS), st.integers(0, 2**32), st.sampled_from([3, 40, 3000]))
def test_frozen_and_mapped_rows_go_through_any_history_as_loaded_ones_do(precision, seed, most):
    rng = np.random.default_rng(seed)
    rows = drawn(rng, most)
    plain, frozen = loaded(precision, rows), loaded(precision, rows)
    if rng.integers(2):  # rows that are free when it is frozen
        news = replicas.changes(SPECS, 2, 2, drawn(rng, most), {"a": rows["a"][0][::2]})
        assert plain.apply(news)
        assert frozen.apply(news)
    frozen.freeze(STAMP)
    mapped, other = adopted(frozen), adopted(frozen)
    begun = adopted(frozen)
    assert_alike(plain, begun)
    for _ in range(6):
        put, removed = drawn(rng, most), {spec.name: drawn(rng, most)[spec.name][0] for spec in SPECS}
        first = plain.sequence + 1
        if rng.integers(5) == 0:
            for each in (plain, frozen, mapped):
                each.replace(replicas.snapshot(SPECS, first, put))
        elif rng.integers(4) == 0:  # a version that fails half way leaves no trace
            broken = replicas.changes(SPECS, first, first, put, removed)
            broken.tables["c"] = broken.tables["c"]._replace(weights=np.zeros((1, 1), np.float32))
            for each in (plain, frozen, mapped):
                with pytest.raises(ConfigError, match="weights of table 'c'"):
                    each.apply(broken)
        else:
            news = replicas.changes(SPECS, first, first, put, removed)
            assert all(each.apply(news) for each in (plain, frozen, mapped))
        assert_alike(plain, frozen)
        assert_alike(plain, mapped)
    assert_alike(begun, other)
    assert_alike(begun, adopted(frozen, instant=begun.instant))  # whatever its maker has done since


@settings(deadline=None, max_examples=30)
@given(worlds(), st.integers(0, 2**32), st.sampled_from(PRECISIONS))
def test_gathers_of_mapped_rows_pool_and_count_as_those_of_loaded_ones(world, seed, precision):
    specs, layout = world
    rng = np.random.default_rng(seed)
    plain = loaded(precision, drawn(rng, 8, specs), specs)
    frozen = loaded(precision, {}, specs)
    for name in plain.specs:
        ids = plain.keys(name)
        put = replicas.changes(
            specs, frozen.sequence + 1, frozen.sequence + 1, {name: (ids, plain.lookup(name, ids))}
        )
        assert frozen.apply(put)
    frozen.freeze(STAMP)
    mapped = adopted(frozen)
    for size in (0, 1, 7):
        batch = random_batch(rng, layout, size)
        pooled, history = layout.outputs
        shapes = [(size, pooled.width), (size, history.length, history.width)]
        ours, theirs = ([np.full(shape, 7, np.float32) for shape in shapes] for _ in range(2))
        missing = plain.gather(layout, batch, theirs)
        np.testing.assert_array_equal(mapped.gather(layout, batch, ours), missing)
        assert [out.tobytes() for out in ours] == [out.tobytes() for out in theirs]


def test_moving_rows_into_an_image_leaves_pauses_for_others():
    wide = [TableSpec(name="wide", dim=64)]
    ids = np.arange(100_000)
    rows, paused = loaded("fp32", {"wide": (ids, np.ones((len(ids), 64), np.float32))}, wide), []
    rows.freeze(STAMP, lambda: paused.append(threading.get_ident()))
    assert (
        len(paused) > rows.stats().shared >> 22
    )  # one for 4 MiB that are written; then they are put on huge pages
    assert set(paused) == {threading.get_ident()}


def test_changed_rows_take_memory_of_their_own_and_no_more_the_second_time():
    spec, count = TableSpec(name="a", dim=16), 40_000
    ids = np.arange(count)
    frozen = loaded("fp32", {"a": (ids, np.ones((count, 16), np.float32))}, [spec])
    before = frozen.stats()
    assert before.shared == 0
    frozen.freeze(STAMP)
    mapped = adopted(frozen)
    for each in (frozen, mapped):
        assert count * (64 + 16) <= each.stats().bytes <= before.bytes + (2 << 20)
        assert each.stats().bytes == each.stats().shared
    own = []
    for sequence in range(2, 12):
        put = {"a": (ids[:1000], np.full((1000, 16), sequence, np.float32))}
        assert mapped.apply(replicas.changes([spec], sequence, sequence, put))
        own.append(mapped.stats().bytes - mapped.stats().shared)
    assert own[0] >= 1000 * 64
    assert own[-1] <= 2 * 1000 * 64 + 40_000 * 32
    assert own[2:] == own[2:3] * len(own[2:]), "what is replaced is used again"
    assert frozen.stats().bytes == frozen.stats().shared


def sealed(content):
    descriptor = os.memfd_create("larix-rows", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(descriptor, content)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    return descriptor


def content_of(replica):
    return os.pread(replica.image, 1 << 24, 0)


@pytest.fixture
def frozen():
    replica = loaded("fp32", drawn(np.random.default_rng(1), 500))
    replica.freeze(STAMP)
    return replica


def refused(frozen, content, match, specs=SPECS, stamp=STAMP, precision="fp32"):
    descriptor = sealed(content) if isinstance(content, bytes) else content
    replica = Replica(specs, precision=precision)
    with pytest.raises(StorageError, match=match):
        replica.adopt(descriptor, stamp, frozen.instant)
    os.fstat(descriptor)  # is the caller's still
    assert (len(replica), replica.sequence, replica.image) == (0, 0, -1)
    rows = {spec.name: ([1], np.ones((1, spec.dim))) for spec in specs}
    replica.replace(replicas.snapshot(specs, 5, rows))
    assert replica.lookup(specs[0].name, np.array([1, 2])).shape == (2, specs[0].dim)
    if isinstance(content, bytes):
        os.close(descriptor)


def test_what_is_damaged_cut_short_or_another_s_is_refused(frozen):
    whole = content_of(frozen)
    adopted(frozen)
    again = sealed(whole)
    Replica(SPECS).adopt(again, STAMP, frozen.instant)  # the content is all there is to it
    os.close(again)
    refused(frozen, whole[: len(whole) // 2], "cut short")
    refused(frozen, whole[:100], "no image of these rows")
    refused(frozen, b"\0" * 5000, "no image of these rows")
    refused(frozen, b"", "empty")
    refused(frozen, whole, "no image of these rows", stamp=bytes(32))
    refused(frozen, whole, "no image of these rows", precision="int8")
    refused(frozen, whole, "no image of these rows", specs=SPECS[:2])
    refused(frozen, whole, "no image of these rows", specs=[TableSpec(name="a", dim=4), *SPECS[1:]])
    header = 8 * (
        1 + 9 + 2 * 3 + 4 + 3 * 32 + 2
    )  # a checksum, whose it is, and how much there is of everything
    for at in range(0, header, 7):
        damaged = whole[:at] + bytes([whole[at] ^ 64]) + whole[at + 1 :]
        refused(frozen, damaged, "damaged|no image of these rows")


def test_what_could_still_be_changed_is_refused(frozen):
    for seals in (0, fcntl.F_SEAL_WRITE, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW):
        descriptor = os.memfd_create("larix-rows", os.MFD_ALLOW_SEALING)
        os.write(descriptor, content_of(frozen))
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        refused(frozen, descriptor, "could still change it")
        os.close(descriptor)
    with open(__file__, "rb") as file:
        refused(frozen, file.fileno(), "could still change it")
    with pytest.raises(OSError, match="not permitted"):
        os.write(frozen.image, b"x")


def test_levels_and_replicas_that_have_shown_something_are_refused(frozen, tmp_path):
    leveled = Replica(SPECS, levels=Levels(hot_bytes=1000, folder=tmp_path))
    with pytest.raises(ConfigError, match="without levels"):
        leveled.adopt(frozen.image, STAMP, frozen.instant)
    with pytest.raises(ConfigError, match="make the replica without"):
        leveled.freeze(STAMP)
    with pytest.raises(StorageError, match="moved into an image before"):
        frozen.freeze(STAMP)
    adopted(frozen)
    with pytest.raises(ConfigError, match="new replica"):
        loaded("fp32", {}).adopt(frozen.image, STAMP, frozen.instant)


# In a folder.

ROWS = drawn(np.random.default_rng(7), 2000)


def filled(folder, key="one", rows=ROWS):
    replica = Replica(SPECS)
    return replica, Images(folder).fill(replica, replicas.snapshot(SPECS, 1, rows), key)


def links(folder):
    return sorted(each.name for each in folder.glob("rows-*"))


def test_the_first_leaves_what_the_others_map_and_each_link_goes_with_its_replica(tmp_path):
    first, said = filled(tmp_path)
    assert said == ""
    (link,) = links(tmp_path)
    second, said = filled(tmp_path, rows={})  # what is there counts, not what would be loaded
    assert said == ""
    assert_alike(first, second)
    assert len(links(tmp_path)) == 2
    assert os.fstat(first.image).st_ino == os.fstat(second.image).st_ino
    del first
    assert len(links(tmp_path)) == 1
    assert link not in links(tmp_path)
    third, said = filled(tmp_path, rows={})
    assert_alike(second, third)
    another, said = filled(tmp_path, key="another", rows={})
    assert len(another) == 0
    del second, third, another
    assert links(tmp_path) == []
    assert len(filled(tmp_path, rows={})[0]) == 0


def test_links_of_ended_processes_and_to_other_files_are_passed_over(tmp_path):
    first, _ = filled(tmp_path)
    (link,) = tmp_path.glob("rows-*")
    begin = link.name.rsplit("-", 2)[0]
    del first
    ended = subprocess.Popen(["true"])
    ended.wait()
    pipe = os.pipe()
    targets = [f"/proc/{ended.pid}/fd/3", f"/proc/{os.getpid()}/fd/{pipe[0]}", f"/proc/{os.getpid()}/fd/9999"]
    for number, target in enumerate(targets):
        (tmp_path / f"{begin}-0-{number}").symlink_to(target)
    fresh, said = filled(tmp_path)
    assert said == ""
    assert len(links(tmp_path)) == 1, "links that lead nowhere are gone"
    assert fresh.stats().shared > 0
    for each in pipe:
        os.close(each)


def test_an_image_that_is_refused_is_told_of_and_rows_are_loaded(tmp_path):
    first, _ = filled(tmp_path)
    (link,) = tmp_path.glob("rows-*")
    begin = link.name.rsplit("-", 2)[0]
    whole = content_of(first)
    plain = loaded("fp32", ROWS)
    del first
    damaged = sealed(whole[:5] + b"!" + whole[6:])
    (tmp_path / f"{begin}-0-0").symlink_to(f"/proc/{os.getpid()}/fd/{damaged}")
    fresh, said = filled(tmp_path)
    assert "damaged" in said
    assert_alike(plain, fresh)
    assert len(links(tmp_path)) == 1
    again, said = filled(tmp_path)
    assert said == ""
    assert_alike(plain, again)
    os.close(damaged)


def test_without_memory_to_share_rows_are_loaded_as_ever_and_it_is_told(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)  # holds for files without a name, too
    plain = loaded("fp32", ROWS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        replica, said = filled(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in said
    assert links(tmp_path) == []
    assert replica.stats().shared == 0
    news = replicas.changes(SPECS, 2, 2, drawn(np.random.default_rng(8), 2000))
    for each in (plain, replica):
        assert each.apply(news)
    assert_alike(plain, replica)


def test_a_folder_that_cannot_be_written_keeps_nobody_from_loading(tmp_path):
    replica, said = filled(tmp_path / "none")
    assert "No such file" in said
    assert_alike(loaded("fp32", ROWS), replica)


def test_rows_that_are_damaged_are_no_matter_of_sharing(tmp_path):
    broken = replicas.snapshot([TableSpec(name="a", dim=9)], 1, {})
    with pytest.raises(ConfigError, match="dim 9"):
        Images(tmp_path).fill(Replica(SPECS), broken, "one")
    assert filled(tmp_path)[1] == "", "whoever fails holds up nobody"


# Among processes.


@pytest.fixture
def processes(tmp_path):
    made = []

    def make(rows=150_000):
        made.append(Process(tmp_path, rows))
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        each.process.wait()
        each.process.stdin.close()
        each.process.stdout.close()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is told by /proc")
def test_three_processes_take_the_memory_of_one_and_what_each_changes(processes, tmp_path):
    three = [processes() for _ in range(3)]
    for each in three:
        assert each.ask("load")["said"] == ""
    copy = 150_000 * (64 * 4 + 20)
    after = [each.ask("sum") for each in three]
    grown = sum(now["Pss"] - each.begun["Pss"] for now, each in zip(after, three, strict=True))
    assert 0.8 * copy < grown < 1.8 * copy
    shown = after[0]["sum"]
    assert [each["sum"] for each in after] == [shown] * 3
    before = three[1].ask("sum")["Private_Dirty"]
    assert three[1].ask("apply 5")["Private_Dirty"] - before < copy / 3
    sums = [each.ask("sum")["sum"] for each in three]
    assert sums[0] == sums[2] == shown
    assert sums[1] == 1000 * 64 * 5.0


def test_it_lives_as_long_as_anybody_has_it_however_they_end(processes, tmp_path):
    first, second = processes(1000), processes(1000)
    first.ask("load")
    second.ask("load")
    shown = second.ask("sum")["sum"]
    first.process.kill()
    first.process.wait()
    assert second.ask("sum")["sum"] == shown
    third = processes(1000)
    assert third.ask("load")["said"] == ""
    assert len(links(tmp_path)) == 2, "the killed one's link is gone"
    assert third.ask("sum")["sum"] == shown
    third.end()
    assert len(links(tmp_path)) == 1
    second.process.kill()
    second.process.wait()
    (link,) = tmp_path.glob("rows-*")
    until = time.monotonic() + 10
    while link.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not link.exists(), "it leads nowhere"
    assert os.readlink(link).startswith("/proc/")
