"""The oracle keeps the rules of docs/join.md; each rule by an example, and what follows from them by properties."""

import itertools
from collections import Counter
from dataclasses import asdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from join_events import BOTH, NOW, PARTITIONS, act, events, one_topic, show, spec_of, specs, streams

from larix.data.join import Action, Clicked, Downsample, Total
from larix.data.join.reference import Reference, join
from larix.data.log import Events

ONE = {"shows": 1, "acts": 1}
LABELS = ("clicked", "liked", "ms")


def labels(samples):
    return {row["id"]: tuple(row.get(name) for name in LABELS) for row in samples}


def run(*appends, spec=None, partitions=ONE):
    return join(spec or spec_of(), appends, partitions)


def test_a_sample_is_its_impression_and_the_labels_of_its_actions():
    samples, stats = run(
        events("shows", show(1, 1000, user=7), show(2, 1100, user=None)),
        events("acts", act("click", 1, 1500), act("watch", 1, 1600, ms=20), act("watch", 1, 2000, ms=5)),
    )
    first = {"kind": "show", "key": 1, "time": 1000, "id": "s1", "user": 7, "ready_ms": 2000}
    assert samples[0] == first | {"clicked": 1.0, "liked": 0.0, "ms": 25.0}
    assert samples[1]["key"] == 2
    assert "user" not in samples[1]
    assert labels(samples)["s2"] == (0.0, 0.0, 0.0)
    assert asdict(stats.kinds["watch"]) == {"accepted": 2} | dict.fromkeys(
        ("null", "future", "late", "duplicate", "orphans"), 0
    )


@pytest.mark.parametrize(("time", "label"), [(999, 0.0), (1000, 1.0), (2000, 1.0), (2001, 0.0)])
def test_an_action_belongs_from_the_impression_to_the_end_of_the_window(time, label):
    samples, stats = run(events("acts", act("click", 1, time)), events("shows", show(1, 1000)))
    assert samples[0]["clicked"] == label
    assert stats.kinds["click"].orphans == 1 - label


def test_an_action_belongs_to_every_impression_of_its_key():
    samples, _ = run(
        events("shows", show(1, 1000, "a"), show(1, 1500, "b"), show(2, 1500, "c")),
        events("acts", act("click", 1, 1700), act("like", 1, 2200)),
    )
    assert labels(samples) == {"a": (1.0, 0.0, 0.0), "b": (1.0, 1.0, 0.0), "c": (0.0, 0.0, 0.0)}


def test_a_toggle_is_what_its_last_action_says_whatever_came_first():
    samples, _ = run(
        events("shows", show(1, 1000), show(2, 1000), show(3, 1000)),
        events(
            "acts", act("unlike", 1, 1200), act("like", 1, 1100), act("like", 2, 1200), act("unlike", 3, 1000)
        ),
    )
    assert [row["liked"] for row in samples] == [0.0, 1.0, 0.0]


def test_values_that_are_null_or_no_number_count_as_zero():
    watch = [act("watch", 1, 1000 + n, ms=ms) for n, ms in enumerate(["2.5", None, "x", "1", "nan"])]
    samples, _ = run(events("shows", show(1, 1000)), events("acts", *watch))
    assert samples[0]["ms"] == 3.5


def test_late_is_judged_by_partition_in_the_order_of_its_offsets():
    appends = [events("shows", show(1, 5000)), events("shows", show(2, 4799, partition=0), show(3, 4800))]
    assert run(*appends)[1].kinds["impression"].late == 1
    other = [appends[0], events("shows", show(2, 4799), partition=1), appends[1]]
    _, stats = run(*other, partitions=PARTITIONS)
    assert (stats.kinds["impression"].accepted, stats.kinds["impression"].late) == (3, 1)


def test_an_event_ahead_of_its_append_is_dropped_and_moves_no_watermark():
    spec = spec_of(ahead_s=1)
    appends = [
        events("shows", show(1, NOW + 1001), show(2, NOW), show(3, NOW + 1000), show(4, NOW + 801)),
        events("acts", act("click", 2, NOW)),
    ]
    samples, stats = run(*appends, spec=spec)
    assert [row["key"] for row in samples] == [2, 4, 3]
    assert stats.kinds["impression"].future == 1


def test_what_lacks_key_time_or_id_is_dropped_and_no_kind_is_passed_over():
    bad = [show(None, 1), show(1, None), show(1, 1) | {"id": None}, show(1, -1), show(1, 2**60)]
    _, stats = run(
        *[events("shows", each) for each in bad],
        events("acts", act("nod", None, 9), act("click", None, 9)),
        events("shows", {"key": 1, "id": "x"}),
    )
    assert stats.kinds["impression"].null == 6
    assert stats.kinds["click"].null == 1
    assert stats.passed_over == {"shows": 0, "acts": 1}


def test_the_first_of_two_events_with_one_id_counts_within_its_kind():
    samples, stats = run(
        events("shows", show(1, 1000, "x"), show(2, 1000, "x"), show(3, 1001, "y")),
        events("acts", act("watch", 1, 1000, "x", ms=1), act("watch", 1, 1000, "x", ms=1)),
        events("acts", act("click", 1, 1000, "x")),
    )
    assert labels(samples) == {"x": (1.0, 0.0, 1.0), "y": (0.0, 0.0, 0.0)}
    assert stats.kinds["impression"].duplicate == stats.kinds["watch"].duplicate == 1


def test_an_id_is_remembered_until_its_time_would_be_late():
    again = show(1, 1400, "x")
    early = events("shows", show(1, 1000, "x"), show(2, 1200, "y"), again)
    late = events("shows", show(1, 1000, "x"), show(2, 1201, "y"), again)
    assert run(early)[1].kinds["impression"].duplicate == 1
    assert run(late)[1].kinds["impression"].duplicate == 0


def test_there_is_no_watermark_before_every_partition_has_an_event():
    joining = Reference(spec_of(), partitions=PARTITIONS)
    joining.push([events("shows", show(1, 9000)), events("acts", act("click", 1, 9000))])
    assert joining.watermark is None
    joining.push([events("shows", show(2, 8000), partition=1)])
    assert joining.watermark is None
    joining.push([events("acts", act("click", 1, 7000), partition=1)])
    assert joining.watermark == 6800


def test_a_partition_that_is_idle_holds_nobody_back_and_finds_the_watermark_gone_on():
    now = [0.0]
    joining = Reference(spec_of(idle_s=5), partitions=ONE, clock=lambda: now[0])
    assert joining.push([events("shows", show(1, 9000), show(2, 20000))]) == []
    now[0] = 5.0
    assert [row["key"] for row in joining.push([events("shows", show(3, 20000))])] == [1]
    joining.push([events("acts", act("click", 2, 19799), act("click", 3, 20000))])
    assert joining.watermark == 19800
    assert joining.stats.kinds["click"].late == 1
    assert [row["clicked"] for row in joining.finish()] == [0.0, 1.0]


def test_at_once_a_sample_comes_first_and_each_change_of_a_label_after_it():
    joining = Reference(spec_of(emit="at_once"), partitions=ONE)
    got = joining.push(
        [
            events("shows", show(1, 1000, user=7), show(9, 9000)),
            events("acts", act("click", 1, 1600), act("click", 1, 1500), act("watch", 1, 1800, ms=4)),
            events("acts", act("watch", 1, 1900, ms=0), act("watch", 1, 1950, ms=2), act("nod", 1, 9000)),
        ]
    )
    assert [(row["ready_ms"], row["correction"]) for row in got] == [
        (1000, False),
        (1500, True),
        (1800, True),
        (1950, True),
    ]
    assert [tuple(row.get(name) for name in LABELS) for row in got] == [
        (0.0, 0.0, 0.0),
        (1.0, None, None),
        (None, None, 4.0),
        (None, None, 6.0),
    ]
    assert all(row["user"] == 7 for row in got)


def test_negatives_are_kept_by_their_key_and_say_their_rate():
    few = Downsample(label="clicked", rate=0.25, seed=3)
    shows = [show(key, 1000 + key) for key in range(40)]
    clicks = [act("click", key, 1500) for key in range(0, 40, 10)]
    samples, stats = run(events("shows", *shows), events("acts", *clicks), spec=spec_of(negatives=few))
    kept = {row["key"]: row["sample_rate"] for row in samples}
    assert kept == {
        key: 1.0 if key % 10 == 0 else 0.25 for key in range(40) if key % 10 == 0 or few.keeps(key)
    }
    assert stats.left_out == 40 - len(kept)
    assert 4 < len(kept) < 25


def test_an_event_may_be_of_several_kinds():
    spec = spec_of(
        actions=(
            Action("view", topic="acts", key="key", time="time", event_id="id", value="ms"),
            Action("share", topic="acts", where={"shared": True}, key="key", time="time", event_id="id"),
        ),
        labels={"ms": Total("view"), "shared": Clicked("share")},
    )
    samples, _ = run(
        events("shows", show(1, 1000), show(2, 1000)),
        events("acts", act("", 1, 1000, ms=3, shared=True), act("", 2, 1000, ms=4, shared=False)),
        spec=spec,
    )
    assert [(row["ms"], row["shared"]) for row in samples] == [(3.0, 1.0), (4.0, 0.0)]


def test_keys_and_ids_of_other_types_are_read_where_nothing_is_lost():
    acts = [
        events("acts", act("click", "1", 1000)),
        events("acts", act("like", 2.0, 1000)),
        events("acts", act("watch", 1.5, 1000, ms=1)),
        events("acts", act("watch", "x", 1000, ms=1) | {"id": 4}),
    ]
    samples, stats = run(events("shows", show(1, 1000), show(2, 1000)), *acts)
    assert labels(samples) == {"s1": (1.0, 0.0, 0.0), "s2": (0.0, 1.0, 0.0)}
    assert stats.kinds["watch"].null == 2


def test_times_may_be_timestamps():
    times = pa.array([1_000_999, 1_001_000], pa.timestamp("us"))
    rows = pa.record_batch({"key": [1, 2], "id": ["a", "b"], "time": times})
    samples, _ = run(Events(topic="shows", partition=0, offset=0, time_ms=NOW, rows=rows))
    assert [row["time"] for row in samples] == [1000, 1001]


def pushed(spec, appends, cuts, partitions):
    """The samples of pushes of several appends each, and the counts."""
    joining, samples = Reference(spec, partitions=partitions), []
    edges = [0, *sorted(cuts), len(appends)]
    for begin, end in itertools.pairwise(edges):
        samples += joining.push(appends[begin:end])
    return samples + joining.finish(), joining.stats


@settings(max_examples=300, deadline=None)
@given(spec=specs(), appends=streams(), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_samples_and_counts_do_not_depend_on_how_the_input_is_cut(spec, appends, cuts):
    cuts = [min(cut, len(appends)) for cut in cuts]
    assert pushed(spec, appends, cuts, PARTITIONS) == join(spec, appends, PARTITIONS)


@settings(max_examples=300, deadline=None)
@given(spec=specs().map(one_topic), appends=streams(shared=True))
def test_every_event_of_a_kind_is_accepted_or_dropped_for_one_reason(spec, appends):
    _, stats = join(spec, appends, BOTH)
    kinds = Counter(kind for each in appends for kind in each.rows["kind"].to_pylist())
    for name, fate in stats.kinds.items():
        assert sum(asdict(fate).values()) - fate.orphans == kinds["show" if name == "impression" else name]
    assert stats.passed_over == {"feed": kinds["nod"]}


@settings(max_examples=300, deadline=None)
@given(spec=specs(), appends=streams())
def test_samples_come_by_the_time_at_which_they_became_final(spec, appends):
    joining, last = Reference(spec, partitions=PARTITIONS), -1
    for each in appends:
        before = joining.watermark
        samples = joining.push([each])
        ready = [row["ready_ms"] for row in samples]
        assert ready == sorted(ready)
        assert all((before is None or at >= before) and at < joining.watermark for at in ready)
        last = ready[-1] if ready else last
    assert all(row["ready_ms"] >= last for row in joining.finish())


@settings(max_examples=300, deadline=None)
@given(appends=streams(disorder=1))
def test_corrections_add_up_to_the_sample_of_the_windows_end(appends):
    at_end, _ = join(spec_of(), appends, PARTITIONS)
    in_parts, _ = join(spec_of(emit="at_once"), appends, PARTITIONS)
    known = {}
    for row in in_parts:
        known.setdefault((row["id"], row["time"]), {}).update(
            {name: row[name] for name in LABELS if name in row}
        )
    assert known == {(row["id"], row["time"]): {name: row[name] for name in LABELS} for row in at_end}


@settings(max_examples=300, deadline=None)
@given(spec=specs(), appends=streams(), order=st.randoms(use_true_random=False))
def test_with_all_on_time_and_no_copies_the_order_of_events_says_nothing(spec, appends, order):
    spec = spec_of(lateness_s=100, emit=spec.emit, window_s=spec.window_s)
    unique = [
        Events(
            topic=each.topic,
            partition=0,
            offset=0,
            time_ms=NOW,
            rows=each.rows.set_column(
                each.rows.schema.get_field_index("id"),
                "id",
                pa.array([f"{n}-{k}" for k in range(len(each.rows))]),
            ).drop_columns([name for name in ("a", "b") if name in each.rows.schema.names]),
        )
        for n, each in enumerate(appends)
    ]
    mixed = list(unique)
    order.shuffle(mixed)
    plain, _ = join(spec, unique, ONE)
    assert join(spec, mixed, ONE)[0] == plain


def test_a_column_keeps_all_values_that_it_can():
    samples, stats = run(
        events("shows", show(1, 1000, a=1)),
        events("shows", show(2, 1001, a=1.5)),
        events("shows", show(3, 1002, a="2.5")),
        events("shows", show(4, 1003, a="much")),
        events("shows", show(5, 1004)),
    )
    assert [row.get("a") for row in samples] == [1.0, 1.5, 2.5, None, None]
    assert stats.unfit == {"a": 1}
