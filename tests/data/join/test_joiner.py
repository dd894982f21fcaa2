"""The joiner equals the oracle, row by row and in order, whatever comes, however it is cut, and wherever it is stopped."""

import itertools
import shutil

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from join_events import (
    BOTH,
    NOW,
    PARTITIONS,
    act,
    events,
    one_topic,
    said,
    show,
    spec_of,
    specs,
    stream,
    streams,
)

from larix.data.join import Action, Clicked, Joiner, Total
from larix.data.join.reference import Reference
from larix.data.log import Events, LeaseError
from larix.errors import ConfigError, StorageError

FEW = settings(max_examples=80, deadline=None)
CUTS = st.lists(st.integers(0, 30), max_size=6)
ONE = {"shows": 1, "acts": 1}


def cut(appends, cuts):
    edges = [0, *sorted(min(each, len(appends)) for each in cuts), len(appends)]
    return [appends[begin:end] for begin, end in itertools.pairwise(edges)]


def equal_the_oracle(spec, pushes, partitions, *, between=lambda joiner: joiner, behind=(), **more):
    oracle, joiner = (
        Reference(spec, partitions=partitions, **more),
        Joiner(spec, partitions=partitions, **more),
    )
    for push, rest in itertools.zip_longest(pushes, behind[: len(pushes)], fillvalue=()):
        assert said(joiner.push(push, behind=rest)) == said(oracle.push(push, behind=rest))
        assert joiner.watermark == oracle.watermark
        assert joiner.stats == oracle.stats
        joiner = between(joiner)
    assert said(joiner.finish()) == said(oracle.finish())
    assert joiner.stats == oracle.stats
    return joiner


@FEW
@given(spec=specs(), appends=streams(most=30), cuts=CUTS)
def test_the_joiner_equals_the_oracle(spec, appends, cuts):
    equal_the_oracle(spec, cut(appends, cuts), PARTITIONS)


@FEW
@given(spec=specs(ids="int64").map(one_topic), appends=streams(most=30, ids="int64", shared=True), cuts=CUTS)
def test_it_does_when_events_share_a_topic(spec, appends, cuts):
    equal_the_oracle(spec, cut(appends, cuts), BOTH)


@FEW
@given(spec=specs(keys="string"), appends=streams(most=30, keys="string"), cuts=CUTS)
def test_it_does_when_keys_are_strings(spec, appends, cuts):
    equal_the_oracle(spec, cut(appends, cuts), PARTITIONS)


@FEW
@given(spec=specs(ids="int64"), appends=streams(most=40, rows=30, ids="int64", disorder=4000), cuts=CUTS)
def test_it_does_when_much_comes_out_of_order(spec, appends, cuts):
    equal_the_oracle(spec, cut(appends, cuts), PARTITIONS)


BEHIND = st.sets(
    st.sampled_from([(topic, each) for topic, count in PARTITIONS.items() for each in range(count)])
)


@FEW
@given(
    spec=specs(idle_s=3),
    appends=streams(most=20),
    cuts=CUTS,
    silences=st.lists(st.integers(0, 4)),
    behind=st.lists(BEHIND, max_size=7),
)
def test_it_does_when_partitions_fall_idle_or_are_not_read_to_their_end(
    spec, appends, cuts, silences, behind
):
    now, left = [0], iter(silences)

    def wait(joiner):
        now[0] += next(left, 1)
        return joiner

    equal_the_oracle(spec, cut(appends, cuts), PARTITIONS, between=wait, behind=behind, clock=lambda: now[0])


@settings(max_examples=25, deadline=None)
@given(
    spec=specs(),
    seed=st.integers(0),
    cuts=CUTS,
    stops=st.sets(st.integers(0, 6)),
    budget=st.sampled_from([0, 1 << 30]),
)
def test_stopped_anywhere_it_goes_on_as_if_it_had_not(spec, seed, cuts, stops, budget, tmp_path_factory):
    folder, number = tmp_path_factory.mktemp("saves"), itertools.count()

    def stop(joiner):
        turn = next(number)
        joiner.save(folder / str(turn))
        if turn not in stops:
            return joiner
        joiner.close()
        return Joiner.load(spec, folder / str(turn), memory_budget=budget, spill=folder / f"work{turn}")

    equal_the_oracle(spec, cut(stream(seed, appends=25), cuts), PARTITIONS, between=stop)
    shutil.rmtree(folder)


def test_a_key_that_all_share_is_joined_like_any_other():
    shows = [show(0, 1000 + n, f"s{n}") for n in range(300)]
    acts = [act("watch", 0, 1000 + n, f"w{n}", ms=0.1 * n) for n in range(300)]
    equal_the_oracle(spec_of(emit="at_once"), [[events("shows", *shows), events("acts", *acts)]], ONE)


def test_an_append_may_span_far_more_than_the_window():
    shows = [show(n, n * 100_000, f"s{n}") for n in range(500)]
    acts = [act("click", n, n * 100_000 + 500, f"c{n}") for n in range(0, 500, 2)]
    joiner = equal_the_oracle(spec_of(), [[events("shows", *shows), events("acts", *acts)]], ONE)
    assert joiner.stats.samples == 500


def test_one_event_may_be_of_several_kinds_and_key_and_id_one_column():
    at = {"key": "key", "time": "time", "event_id": "key"}
    spec = spec_of(
        actions=(
            Action("view", topic="acts", value="ms", **at),
            Action("act", topic="acts", where={"on": True}, **at),
        ),
        labels={"ms": Total("view"), "on": Clicked("act")},
    )
    acts = events(
        "acts", act("", 1, 1000, ms=3, on=True), act("", 2, 1000, ms=4, on=False), act("", 1, 1001, on=True)
    )
    equal_the_oracle(spec, [[events("shows", show(1, 1000), show(2, 1000)), acts]], ONE)


def test_columns_that_are_named_like_labels_give_way():
    shows = [show(1, 1000, clicked="never", ready_ms=3, sample_rate=0.3)]
    table = Joiner(spec_of(), partitions=ONE)
    table.push([events("shows", *shows)])
    (row,) = table.finish().to_pylist()
    assert row["clicked"] == 0.0
    assert row["ready_ms"] == 2000
    assert row["sample_rate"] == 0.3


def test_types_of_samples_are_the_same_whether_there_are_any():
    joiner = Joiner(spec_of(emit="at_once"), partitions=ONE)
    empty = joiner.push([events("shows", show(1, 1000, user=7))])
    full = joiner.finish()
    assert (len(empty), len(full)) == (0, 1)
    assert empty.schema == full.schema
    assert full.schema.field("clicked").type == pa.float32()
    assert full.schema.field("correction").type == pa.bool_()
    assert full.schema.field("ready_ms").type == pa.int64()


def test_topics_and_partitions_that_it_was_not_told_of_are_refused_before_anything_is_taken():
    with pytest.raises(ConfigError, match="the join reads topics"):
        Joiner(spec_of(), partitions={"shows": 1})
    joiner = Joiner(spec_of(), partitions=ONE)
    with pytest.raises(ConfigError, match="partition 1 of topic 'acts'"):
        joiner.push([events("shows", show(1, 1)), events("acts", act("click", 1, 1), partition=1)])
    assert joiner.stats.kinds["impression"].accepted == 0


def test_two_joiners_do_not_share_a_folder(tmp_path):
    first = Joiner(spec_of(), partitions=ONE, spill=tmp_path / "work")
    with pytest.raises(LeaseError):
        Joiner(spec_of(), partitions=ONE, spill=tmp_path / "work")
    first.close()
    Joiner(spec_of(), partitions=ONE, spill=tmp_path / "work").close()


def many(number, rows=2000):
    """An append each of impressions of 400 bytes, and of actions; half a second later than those before."""
    start = 1000 + 500 * number
    keys = [number * rows + n for n in range(rows)]
    wide = {f"f{n}": pa.array([float(key) for key in keys]) for n in range(50)}
    ids = pa.array([str(key) for key in keys])
    times = pa.array([start + n // 4 for n in range(rows)])
    shows = pa.record_batch({"key": pa.array(keys), "time": times, "id": ids, **wide})
    kinds = pa.array(["click", "watch"] * (rows // 2))
    acts = pa.record_batch({"key": pa.array(keys), "time": times, "id": ids, "kind": kinds, "ms": times})
    return [
        Events(topic=topic, partition=0, offset=0, time_ms=NOW, rows=batch)
        for topic, batch in (("shows", shows), ("acts", acts))
    ]


@pytest.mark.parametrize("budget", [0, 1 << 19, 2 << 20])
@pytest.mark.parametrize("emit", ["end", "at_once"])
def test_state_beyond_the_budget_goes_to_the_disk_and_samples_stay_the_same(budget, emit, tmp_path):
    spec = spec_of(window_s=5, emit=emit)
    roomy = Joiner(spec, partitions=ONE)
    tight = Joiner(spec, partitions=ONE, memory_budget=budget, spill=tmp_path / "work")
    largest = 0
    for number in range(20):
        push = many(number)
        assert tight.push(push).equals(roomy.push(push))
        assert tight.state_bytes <= budget
        largest = max(largest, roomy.state_bytes)
    assert tight.finish().equals(roomy.finish())
    assert largest > 8 << 20
    assert tight.stats == roomy.stats


def test_state_is_bounded_by_the_window_in_memory_and_on_the_disk(tmp_path):
    joiner = Joiner(spec_of(window_s=2), partitions=ONE, memory_budget=1 << 20, spill=tmp_path / "work")
    roomy = Joiner(spec_of(window_s=2), partitions=ONE)
    sizes, files = [], []
    for number in range(40):
        push = many(number)
        joiner.push(push)
        roomy.push(push)
        sizes.append(roomy.state_bytes)
        files.append(len([*(tmp_path / "work").iterdir()]))
    assert max(sizes[20:]) < 1.2 * max(sizes[:20])
    assert max(files[20:]) <= max(files[:20])
    for each in (joiner, roomy):
        each.finish()
        assert each.state_bytes == 0
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["lease"]


@FEW
@given(spec=specs(), appends=streams(most=30), cuts=CUTS, more=streams(most=30))
def test_it_goes_on_after_the_input_was_over_as_the_oracle_does(spec, appends, cuts, more):
    oracle, joiner = Reference(spec, partitions=PARTITIONS), Joiner(spec, partitions=PARTITIONS)
    for pushes in (cut(appends, cuts), cut(more, cuts)):
        for push in pushes:
            assert said(joiner.push(push)) == said(oracle.push(push))
        assert said(joiner.finish()) == said(oracle.finish())
        assert joiner.watermark == oracle.watermark
        assert joiner.stats == oracle.stats


def test_what_comes_after_the_end_counts_if_it_is_later_than_all_before():
    joiner = Joiner(spec_of(), partitions=ONE)
    joiner.push([events("shows", show(1, 1000)), events("acts", act("click", 1, 1500))])
    assert joiner.finish()["clicked"].to_pylist() == [1.0]
    later = [show(1, 900, "old"), show(1, 1500, "as old as the newest"), show(2, 1501)]
    joiner.push([events("shows", *later), events("acts", act("like", 1, 1600), act("like", 2, 1700))])
    found = joiner.finish()
    assert found["key"].to_pylist() == [2]
    assert found["liked"].to_pylist() == [1.0]


def test_many_small_pushes_make_few_chunks(tmp_path):
    joiner = Joiner(spec_of(window_s=60), partitions=ONE, spill=tmp_path / "work")
    for n in range(300):
        joiner.push([events("shows", show(n, 1000 + n)), events("acts", act("click", n, 1000 + n))])
    joiner.save(tmp_path / "save")
    assert len([*(tmp_path / "save").iterdir()]) < 25


@pytest.mark.parametrize("emit", ["end", "at_once"])
def test_what_was_dropped_among_many_does_not_come_back_from_the_disk(emit, tmp_path):
    spec, number = spec_of(window_s=3, emit=emit), itertools.count()

    def push(n):
        shows = [
            show(40 * n + k, 1000 + 300 * n + k, f"s{40 * n + (k - 1 if k % 9 == 8 else k)}")
            for k in range(40)
        ]
        acts = [act("watch", 40 * n + k, 1000 + 300 * n + 2 * k, ms=k) for k in range(40)]
        return [events("shows", *shows), events("acts", *acts)]

    def again(joiner):
        turn = next(number)
        joiner.save(tmp_path / f"save{turn}")
        joiner.close()
        return Joiner.load(spec, tmp_path / f"save{turn}", memory_budget=0, spill=tmp_path / f"work{turn}")

    joiner = equal_the_oracle(spec, [push(n) for n in range(20)], ONE, between=again)
    assert joiner.stats.kinds["impression"].duplicate == 80
    equal_the_oracle(spec, [push(n) for n in range(20)], ONE)


def test_a_full_disk_costs_no_sample_and_is_told_before_events_are_taken(tmp_path, monkeypatch):
    def full(*_):
        raise StorageError("no space")

    spec = spec_of(window_s=2)
    roomy, tight = Joiner(spec, partitions=ONE), Joiner(spec, partitions=ONE, memory_budget=0, spill=tmp_path)
    for number in range(12):
        push = many(number)
        with monkeypatch.context() as patched:
            if number % 3 == 1:
                patched.setattr("larix.data.join.store.write", full)
                patched.setattr("larix.data.join.impressions.mapped", full)
            got = tight.push(push)
            if number % 3 == 1:
                with pytest.raises(StorageError, match="no space"):
                    tight.push(many(number + 1))
        assert got.equals(roomy.push(push))
    assert tight.finish().equals(roomy.finish())
    assert tight.stats == roomy.stats


@pytest.mark.parametrize("emit", ["end", "at_once"])
@pytest.mark.parametrize("ids", ["string", "int64"])
def test_copies_of_events_from_before_a_restart_are_told(tmp_path, emit, ids):
    def id_of(number):
        return number if ids == "int64" else str(number)

    def pushed(joiner):
        watched = [act("watch", 1, 2100 + at, id_of(10 + at), ms=1.0) for at in range(2)]
        appends = [
            events("shows", show(1, 2000, id_of(1)), show(2, 2100, id_of(2)), time_ms=NOW),
            events("acts", act("click", 2, 2150, id_of(12)), *watched, time_ms=NOW),
        ]
        return joiner.push(appends)

    spec = spec_of(emit=emit, ids=ids)
    oracle, joiner = Reference(spec, partitions=ONE), Joiner(spec, partitions=ONE)
    for turn in range(3):
        assert said(pushed(joiner)) == said(pushed(oracle))
        joiner.save(tmp_path / str(turn))
        joiner.close()
        joiner = Joiner.load(spec, tmp_path / str(turn))
    assert {name: fate.accepted for name, fate in joiner.stats.kinds.items()} == {
        "impression": 2,
        "click": 1,
        "like": 0,
        "unlike": 0,
        "watch": 2,
    }
    assert [joiner.stats.kinds[name].duplicate for name in ("impression", "click", "watch")] == [4, 2, 4]
    assert said(joiner.finish()) == said(oracle.finish())
    assert joiner.stats == oracle.stats
    joiner.close()
