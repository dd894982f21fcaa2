"""The planner: what tables will take, and what fits."""

import pytest

from larix.embedding import Adam, ByCount, LeastRecent, TableSpec
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


def test_an_optimizer_that_is_none_is_named():
    with pytest.raises(ConfigError, match="'Adagard' is no optimizer of rows; there are"):
        read_tables(["5x8"], optimizer="Adagard")
