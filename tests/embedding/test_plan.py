"""The planner: what tables will take, and what fits."""

import os
import subprocess
import sys

import numpy as np
import pytest

from larix.embedding import SGD, Adam, ByCount, LeastRecent, Tables, TableSpec
from larix.embedding.plan import plan, read_tables
from larix.errors import ConfigError

USER = TableSpec(name="user", dim=16, eviction=LeastRecent())
VIDEO = TableSpec(name="video", dim=32, optimizer=Adam(), eviction=LeastRecent())
TAG = TableSpec(name="tag", dim=16)


def test_without_a_budget_every_id_has_its_row():
    found = plan({USER: 1_000_000, VIDEO: 200_000})
    assert [line.rows for line in found.lines] == [1_000_000, 200_000]
    assert found.bytes == found.needed == sum(line.bytes for line in found.lines)
    assert 1_000_000 * 96 < found.lines[0].bytes < 1_000_000 * 96 * 1.2


def test_within_a_budget_tables_with_a_policy_share_what_the_others_leave():
    found = plan({USER: 1_000_000, VIDEO: 200_000, TAG: 50_000}, "64MiB")
    user, video, tag = found.lines
    assert tag.rows == 50_000
    assert user.rows / 1_000_000 == pytest.approx(video.rows / 200_000, rel=1e-4)
    assert 0.97 * (64 << 20) < found.bytes <= 64 << 20 < found.needed


def test_more_memory_never_holds_fewer_rows():
    rows = [plan({USER: 3_000_000}, size << 20).lines[0].rows for size in range(10, 400, 7)]
    assert rows == sorted(rows)
    assert rows[-1] == 3_000_000


def test_sketches_count_as_memory():
    asked = TableSpec(name="a", dim=16, admission=ByCount(n=2))
    bare = TableSpec(name="a", dim=16)
    assert plan({asked: 1000}).needed - plan({bare: 1000}).needed == plan({asked: 1000}).sketches == 2 << 20


def test_a_budget_too_small_for_tables_without_a_policy_is_an_error_that_names_what_they_need():
    with pytest.raises(ConfigError, match=r"without an eviction policy take \d+ bytes"):
        plan({TAG: 1_000_000}, "64MiB")


def test_tables_are_told_in_words():
    found = read_tables(["video=20Mx32", "1.5kx8", "x=7_000x4"], optimizer="adam", keep=["x"], admit_at=3)
    assert [(spec.name, spec.dim, ids) for spec, ids in found.items()] == [
        ("video", 32, 20_000_000),
        ("table 1", 8, 1_500),
        ("x", 4, 7_000),
    ]
    assert [spec.eviction is None for spec in found] == [False, False, True]
    assert all(spec.optimizer == Adam() and spec.admission == ByCount(n=3) for spec in found)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["video"], r"'video' is no table; write \[NAME=\]IDSxDIM"),
        (["a=5x8", "a=6x8"], "table 'a' is there twice"),
        (["a=5x0"], "dim 0"),
    ],
)
def test_words_that_are_no_tables_are_named(words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_tables(words)


def test_weights_of_half_the_bytes_are_told_and_counted():
    (full,), (half,) = (plan(read_tables(["1Mx32"], precision=kind)).lines for kind in ("fp32", "bf16"))
    assert full.bytes - half.bytes == pytest.approx(1_000_000 * 64, rel=0.01)
    with pytest.raises(ConfigError, match="precision 'int8'; it must be one of"):
        read_tables(["5x8"], precision="int8")


def test_an_optimizer_that_is_none_is_named():
    with pytest.raises(ConfigError, match="'Adagard' is no optimizer of rows; there are"):
        read_tables(["5x8"], optimizer="Adagard")


@pytest.mark.parametrize(
    "given",
    [
        {TableSpec(name="a", dim=16): 300_000},
        {
            TableSpec(name="a", dim=5, optimizer=Adam()): 14_000,
            TableSpec(name="b", dim=5, optimizer=Adam()): 9,
        },
        {TableSpec(name="a", dim=64, optimizer=SGD()): 60_000, TableSpec(name="b", dim=8): 250_000},
        {TableSpec(name="a", dim=1, optimizer=SGD(), admission=ByCount(n=1)): 90_000},
        {TableSpec(name="a", dim=16): 1_000},
        {  # tables part the shards of their group, most of which is one table here
            TableSpec(name="a", dim=8): 5_000,
            TableSpec(name="b", dim=16): 20_000,
            TableSpec(name="c", dim=8): 400_000,
            TableSpec(name="d", dim=8): 300,
        },
        {TableSpec(name=str(number), dim=4): 1_000 * number for number in range(40)},
    ],
)
def test_bytes_are_predicted_within_5_percent_of_what_the_store_says(given):
    tables = Tables(list(given), threads=1)
    for spec, count in given.items():
        ids = np.random.default_rng(0).integers(-(2**63), 2**63, count)
        tables.lookup(spec.name, ids, insert=True)
    assert plan(given).bytes == pytest.approx(tables.stats().bytes, rel=0.05)


RESIDENT = """
import gc, sys
import numpy as np
from larix.embedding import LeastRecent, Tables, TableSpec

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) << 10

budget, rows, cold = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None
spec = TableSpec(name="a", dim=16, eviction=LeastRecent() if budget and not cold else None)

def fill(tables, first, rows):
    grads = np.ones((4_000, 16), np.float32)
    for start in range(first, first + rows, 4_000):
        ids = np.arange(start, start + 4_000)
        tables.lookup("a", ids, insert=True, out=grads)
        tables.update("a", ids, grads)

fill(Tables([spec], threads=1), 0, 40_000)  # what calls need for themselves is no part of the store
gc.collect()
before = resident()
tables = Tables([spec], threads=1, memory_budget=budget or None, background=False, cold=cold)
most = 0
for start in range(0, rows, rows // 10):
    fill(tables, start, rows // 10)
    most = max(most, resident() - before)
print(most, tables.stats().bytes, len(tables))
"""


def resident(budget, rows, cold=""):
    """Bytes of memory that a store of its own process grew to, what it says itself, and its rows."""
    told = subprocess.run(
        [sys.executable, "-c", RESIDENT, str(budget), str(rows), str(cold)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return map(int, told.stdout.split())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bytes_are_predicted_within_5_percent_of_what_the_system_says():
    measured, said, rows = resident(0, 1_600_000)
    predicted = plan({TableSpec(name="a", dim=16): rows}).bytes
    assert rows == 1_600_000
    assert predicted == pytest.approx(measured, rel=0.05)
    assert predicted == pytest.approx(said, rel=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_the_process_stays_within_the_budget():
    budget = 96 << 20
    measured, said, rows = resident(budget, 3_000_000)
    assert 0.9 * budget < said <= budget
    assert measured <= budget
    assert (
        rows
        > 0.9 * plan({TableSpec(name="a", dim=16, eviction=LeastRecent()): 3_000_000}, budget).lines[0].rows
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_the_process_stays_within_the_budget_when_most_rows_are_on_disk(tmp_path):
    budget = 64 << 20
    measured, said, rows = resident(budget, 2_000_000, tmp_path / "cold")
    assert rows == 2_000_000  # which take over three times that in memory
    assert 0.9 * budget < said <= budget
    assert measured <= budget
