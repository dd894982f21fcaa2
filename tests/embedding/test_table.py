"""What a store promises, on the oracle and the native store alike; test_histories.py compares the two."""

import os
import resource
import threading

import numpy as np
import pytest

from larix.batch import Batch, History, Jagged
from larix.embedding import SGD, Constant, Layout, Output, RowAdagrad, Slot, Tables, TableSpec
from larix.errors import ConfigError, DataError

EXTREMES = np.array([0, -1, 1, np.iinfo(np.int64).min, np.iinfo(np.int64).max], np.int64)
PLAIN = TableSpec(name="a", dim=2, optimizer=SGD(lr=1.0), init=Constant(value=10.0))
POOLED = Layout(
    outputs=(Output(name="pooled", width=6), Output(name="h", width=2, length=3)),
    slots=(
        Slot(name="one", table="a", output=0, column=0),
        Slot(name="sum", table="a", output=0, column=2),
        Slot(name="mean", table="a", output=0, column=4, pool="mean"),
        Slot(name="h.v", table="a", output=1, column=0, pool="sequence"),
    ),
)
HALVED = Layout(outputs=(Output(name="pooled", width=6, bf16=True), POOLED.outputs[1]), slots=POOLED.slots)


def f32(*values):
    return np.array(values, np.float32)


def batch(one=(1, 2), bags=((3, 4), ()), weights=None, history=((5, 6, 7), ())):
    def jagged(lists, weights=None):
        offsets = np.cumsum([0] + [len(part) for part in lists])
        return Jagged(np.array([i for part in lists for i in part], np.int64), offsets, weights)

    events = jagged(history)
    ids = {
        "one": Jagged(np.array(one, np.int64)),
        "sum": jagged(bags, weights),
        "mean": jagged(bags, weights),
    }
    sequences = {
        "h": History(events.offsets, {"v": events.values}, np.zeros((len(events.values), 0), np.float32))
    }
    return Batch(size=len(one), ids=ids, sequences=sequences, dense=np.zeros((len(one), 0), np.float32))


def outs(size=2):
    return [np.full((size, 6), np.nan, np.float32), np.full((size, 3, 2), np.nan, np.float32)]


def filled(store):
    """Rows 1 to 9, whose weights are [id, 10 * id]."""
    tables = store([PLAIN])
    ids = np.arange(1, 10)
    weights = np.stack([ids, 10 * ids], axis=1).astype(np.float32)
    tables.put("a", ids, weights, np.zeros((9, 0), np.float32))
    return tables


def test_extreme_ids_are_rows_like_any_other_and_tables_share_none(store):
    tables = store([TableSpec(name="a", dim=3), TableSpec(name="b", dim=3)])
    for name in "ab":
        rows = tables.lookup(name, EXTREMES, insert=True)
        assert len(np.unique(rows[:, 0])) == len(EXTREMES)
    assert (len(tables), tables.rows("a"), tables.rows("b")) == (10, 5, 5)
    tables.update("a", EXTREMES[:1], np.ones((1, 3), np.float32))
    assert np.array_equal(tables.keys("a"), np.sort(EXTREMES))
    assert np.array_equal(
        tables.lookup("b", EXTREMES), store([TableSpec(name="b", dim=3)]).lookup("b", EXTREMES, insert=True)
    )


def mix(x):
    """The finaliser of splitmix64, as native/hash.hpp has it, and below its inverse."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def unmix(x):
    x = (x ^ x >> 31 ^ x >> 62) * pow(0x94D049BB133111EB, -1, 2**64) % 2**64
    x = (x ^ x >> 27 ^ x >> 54) * pow(0xBF58476D1CE4E5B9, -1, 2**64) % 2**64
    return x ^ x >> 30 ^ x >> 60


def test_ids_that_look_alike_to_the_index_are_told_apart(store):
    # Table 1 of a store hashes an id to mix(id ^ salt): high bits choose the shard, the low 32 are all that the index keeps.
    salt = mix(1 + 0x9E3779B97F4A7C15)
    alike = np.array([unmix(n << 32 | 12345) ^ salt for n in range(600)], np.uint64).view(np.int64)
    assert {mix(int(i) % 2**64 ^ salt) % 2**32 for i in alike} == {12345}
    tables = store([PLAIN])
    known, other = alike[:300], alike[300:]
    tables.put(
        "a", known, np.stack([np.arange(300)] * 2, axis=1).astype(np.float32), np.zeros((300, 0), np.float32)
    )
    mixed = np.concatenate([other, known])
    assert np.array_equal(tables.lookup("a", mixed)[:, 0], [0] * 300 + list(range(300)))
    assert tables.stats().missing == 300
    assert tables.remove("a", known[::2]) == 150
    tables.lookup("a", other, insert=True)
    tables.update("a", alike, np.ones((600, 2), np.float32))
    assert tables.stats().lost == 150
    expected = np.concatenate([[0, n - 1] for n in range(1, 300, 2)] + [[9] * 300])
    assert np.array_equal(tables.lookup("a", alike)[:, 0], expected)


def test_an_unknown_id_reads_zeros_and_counts_as_missing(store):
    tables = store([PLAIN])
    assert np.array_equal(tables.lookup("a", np.array([1, 2, 1])), np.zeros((3, 2)))
    assert (tables.rows("a"), tables.stats().missing, tables.stats().lookups) == (0, 3, 3)
    out = outs()
    tables.gather(POOLED, batch(), out, insert=False)
    assert np.all(out[0] == 0)
    assert np.all(out[1] == 0)
    assert (tables.rows("a"), tables.stats().missing) == (0, 12)


def test_an_id_born_twice_in_one_call_is_inserted_once(store):
    tables = store([PLAIN])
    tables.lookup("a", np.array([4, 4, 5]), insert=True)
    stats = tables.stats()
    assert (stats.rows, stats.inserted, stats.hits, stats.lookups) == (2, 2, 1, 3)


def test_pools_are_what_the_layout_says(store):
    tables, out = filled(store), outs()
    tables.gather(POOLED, batch(), out)
    assert np.array_equal(out[0], [[1, 10, 7, 70, 3.5, 35], [2, 20, 0, 0, 0, 0]])
    assert np.array_equal(out[1], [[[5, 50], [6, 60], [7, 70]], np.zeros((3, 2))])


def test_weights_weigh_and_a_mean_of_weight_zero_is_zero(store):
    tables, out = filled(store), outs()
    tables.gather(POOLED, batch(bags=((3, 4), (5, 6)), weights=f32(3, 1, 1, -1)), out)
    assert np.array_equal(out[0][:, 2:], [[13, 130, 3.25, 32.5], [-1, -10, 0, 0]])


def test_each_id_gets_its_share_of_the_gradient_and_repeats_are_summed(store):
    tables = filled(store)
    lookup = tables.gather(
        POOLED, batch(one=(1, 1), bags=((3, 4), ()), weights=f32(3, 1), history=((5, 5), (3,))), outs()
    )
    grads = [np.ones((2, 6), np.float32), np.full((2, 3, 2), 2, np.float32)]
    tables.apply(lookup, grads, lr_scale=2.0)
    stepped = {int(i): row[0] for i, row in zip(*tables.items("a")[:2], strict=True)}
    assert stepped[1] == 1 - 2 * 2  # twice in slot "one"
    assert stepped[3] == 3 - 2 * (
        3 + 0.75 + 2
    )  # weight 3 in "sum", 3 of 4 in "mean", and once in the history
    assert stepped[4] == 4 - 2 * (1 + 0.25)
    assert stepped[5] == 5 - 2 * 4
    assert stepped[9] == 9


def test_a_mean_of_weight_zero_takes_no_gradient(store):
    tables = filled(store)
    layout = Layout(
        outputs=(Output(name="p", width=2),),
        slots=(Slot(name="mean", table="a", output=0, column=0, pool="mean"),),
    )
    lookup = tables.gather(
        layout, batch(bags=((3, 4), ()), weights=f32(1, -1)), [np.empty((2, 2), np.float32)]
    )
    tables.apply(lookup, [np.full((2, 2), np.nan, np.float32)])
    assert np.array_equal(tables.lookup("a", np.array([3, 4])), [[3, 30], [4, 40]])


def test_handles_outlive_growth_and_later_gathers(store):
    tables, out = filled(store), outs()
    early = tables.gather(POOLED, batch(), out)
    tables.lookup("a", np.arange(1000, 60_000), insert=True)
    late = tables.gather(POOLED, batch(one=(1, 8)), out)
    ones = [np.ones((2, 6), np.float32), np.zeros((2, 3, 2), np.float32)]
    tables.apply(late, ones)
    tables.apply(early, ones)
    assert np.array_equal(tables.lookup("a", np.array([1, 2, 8]))[:, 0], [-1, 1, 7])
    assert tables.stats().lost == 0


def test_a_gradient_whose_row_is_gone_is_counted_and_touches_no_other(store):
    tables = filled(store)
    lookup = tables.gather(POOLED, batch(), outs())
    assert tables.remove("a", np.array([1, 3, 77, 1])) == 2
    tables.lookup("a", np.array([1, 100]), insert=True)  # born again, and one in the freed place
    tables.apply(lookup, [np.ones((2, 6), np.float32), np.zeros((2, 3, 2), np.float32)])
    assert tables.stats().lost == 3  # id 1 once, id 3 in "sum" and "mean"
    assert np.array_equal(tables.lookup("a", np.array([1, 100, 3, 2]))[:, 0], [10, 10, 0, 1])
    tables.update("a", np.array([3, 3, 2]), np.ones((3, 2), np.float32))
    assert tables.stats().lost == 5


def test_a_lookup_of_another_store_is_lost_whole(store):
    lookup, other = filled(store).gather(POOLED, batch(), outs()), filled(store)
    other.apply(lookup, [np.ones((2, 6), np.float32), np.ones((2, 3, 2), np.float32)])
    assert other.stats().lost == 9
    assert np.array_equal(other.lookup("a", np.array([1])), [[1, 10]])


def test_a_gather_that_did_not_insert_has_no_rows_to_step(store):
    tables = store([PLAIN])
    lookup = tables.gather(POOLED, batch(), outs(), insert=False)
    tables.apply(lookup, [np.ones((2, 6), np.float32), np.ones((2, 3, 2), np.float32)])
    assert (len(tables), tables.stats().lost) == (0, 9)


def test_empty_batches_ids_and_layouts_are_fine(store):
    tables = store([PLAIN])
    empty = np.zeros(0, np.int64)
    assert tables.lookup("a", empty, insert=True).shape == (0, 2)
    assert tables.lookup("a", []).shape == (0, 2)
    tables.update("a", empty, np.zeros((0, 2), np.float32))
    tables.put("a", empty, np.zeros((0, 2), np.float32), np.zeros((0, 0), np.float32))
    tables.apply(tables.gather(POOLED, batch(one=(), bags=(), history=()), outs(0)), outs(0))
    nothing = Layout(outputs=(), slots=())
    tables.apply(tables.gather(nothing, batch(), []), [])
    assert [array.shape for array in tables.items("a")] == [(0,), (0, 2), (0, 0)]
    assert len(store([])) == 0


def test_nan_gradients_stay_in_their_rows(store):
    tables = store([TableSpec(name="a", dim=2, optimizer=RowAdagrad())])
    before = tables.lookup("a", np.array([1, 2]), insert=True)
    tables.update("a", np.array([1]), np.full((1, 2), np.nan, np.float32))
    after = tables.lookup("a", np.array([1, 2]))
    assert np.isnan(after[0]).all()
    assert np.array_equal(after[1], before[1])


def test_the_last_of_a_repeated_id_is_put(store):
    tables = filled(store)
    tables.put(
        "a",
        np.array([1, 50, 1]),
        np.array([[1, 1], [2, 2], [3, 3]], np.float32),
        np.zeros((3, 0), np.float32),
    )
    assert np.array_equal(tables.lookup("a", np.array([1, 50]))[:, 0], [3, 2])
    assert tables.rows("a") == 10


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda t: t.rows("b"), ConfigError, r"there is no table 'b'; there are \['a'\]"),
        (lambda t: t.lookup("a", np.array([1.5])), DataError, r"ids are float64 \[1\]; they must be int64"),
        (lambda t: t.lookup("a", np.array([[1]])), DataError, r"ids are int64 \[1, 1\]"),
        (
            lambda t: t.lookup("a", [1], out=np.empty((1, 3), np.float32)),
            ConfigError,
            r"out is float32 \[1, 3\]; it must be",
        ),
        (
            lambda t: t.lookup("a", [1, 2], out=np.empty((2, 4), np.float32)[:, ::2]),
            ConfigError,
            "out is not C-contiguous",
        ),
        (
            lambda t: t.lookup("a", [1], out=np.broadcast_to(f32(1), (1, 2))),
            ConfigError,
            "out is not C-contiguous|read-only",
        ),
        (
            lambda t: t.update("a", [1], np.ones((1, 2))),
            ConfigError,
            r"grads is float64 \[1, 2\]; it must be float32",
        ),
        (
            lambda t: t.update("a", [1], np.ones((1, 2), np.float32), lr_scale=np.nan),
            ConfigError,
            "lr_scale is nan",
        ),
        (lambda t: t.put("a", [1], np.ones((1, 2), np.float32), [[]]), ConfigError, "state is a list"),
        (lambda t: t.gather(POOLED, batch(), outs()[:1]), ConfigError, "has 2 outputs; 1 buffers"),
        (
            lambda t: t.gather(POOLED, batch(), outs(3)),
            ConfigError,
            r"output 'pooled' is float32 \[3, 6\]; .* \[2, 6\]",
        ),
        (
            lambda t: t.gather(POOLED, batch(history=((1, 2, 3, 4), ())), outs()),
            DataError,
            "'h.v' has 4 ids in sample 0 .* 3",
        ),
        (
            lambda t: t.gather(POOLED, batch(weights=f32(1)), outs()),
            DataError,
            "slot 'sum' has 2 ids, 1 weights",
        ),
        (lambda t: t.apply(t.gather(POOLED, batch(), outs()), outs(3)), ConfigError, "gradient 'pooled' is"),
        (
            lambda t: t.gather(HALVED, batch(), outs()),
            ConfigError,
            r"output 'pooled' is float32 \[2, 6\]; it must be uint16",
        ),
    ],
)
def test_a_wrong_argument_is_named_and_changes_nothing(store, call, error, sentence):
    tables = filled(store)
    before = [array.tobytes() for array in tables.items("a")]
    with pytest.raises(error, match=sentence):
        call(tables)
    assert [array.tobytes() for array in tables.items("a")] == before


@pytest.mark.parametrize(
    "offsets", [[1, 2, 2], [0, 3, 2], [0, 1, 1], [0, -1, 2], [0, 2, 3], [0, np.iinfo(np.int64).min, 2]]
)
def test_offsets_that_are_not_offsets_are_refused_before_anything_is_read(store, offsets):
    tables, good = filled(store), batch()
    bad = Jagged(np.array([70, 71]), np.array(offsets, np.int64))
    wrong = Batch(size=2, ids=dict(good.ids) | {"mean": bad}, sequences=good.sequences, dense=good.dense)
    with pytest.raises(DataError, match="offsets of slot 'mean' must rise from 0 to its 2 ids"):
        tables.gather(POOLED, wrong, outs())
    assert tables.rows("a") == 9


def test_two_specs_of_one_name_are_refused(store):
    with pytest.raises(ConfigError, match="table 'a' is declared twice"):
        store([PLAIN, TableSpec(name="a", dim=3)])


def test_a_senseless_number_of_threads_is_refused(store):
    with pytest.raises(ConfigError, match="threads is -1; it must be between 0"):
        store([PLAIN], threads=-1)


def test_gather_apply_and_lookup_may_run_on_several_threads():
    tables = Tables([PLAIN], threads=2)
    ids = np.arange(6_000)
    layout = Layout(
        outputs=(Output(name="p", width=2),), slots=(Slot(name="x", table="a", output=0, column=0),)
    )
    one = Batch(size=6_000, ids={"x": Jagged(ids)}, sequences={}, dense=np.zeros((6_000, 0), np.float32))

    def train():
        for _ in range(30):
            out = np.empty((6_000, 2), np.float32)
            tables.apply(tables.gather(layout, one, [out]), [np.ones_like(out)])

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for start in range(6_000, 60_000, 2_000):
        tables.lookup("a", np.arange(start, start + 2_000), insert=True)
    for thread in threads:
        thread.join()
    assert np.all(tables.lookup("a", ids) == 10 - 4 * 30)
    assert (len(tables), tables.stats().lost) == (60_000, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_can_use_the_store_it_inherits():
    tables, ids = Tables([PLAIN], threads=3), np.arange(10_000)
    tables.lookup("a", ids, insert=True)  # starts the threads, which a child does not inherit
    child = os.fork()
    if child == 0:
        os._exit(0 if np.all(tables.lookup("a", ids, insert=True) == 10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_memory_beyond_weights_and_state_stays_within_44_bytes_a_row():
    tables = Tables([TableSpec(name="a", dim=16)], threads=1)
    for start in range(0, 1_000_000, 100_000):
        tables.lookup("a", np.arange(start, start + 100_000), insert=True)
    assert tables.stats().bytes / 1_000_000 - 17 * 4 < 44


def test_rows_that_found_memory_are_whole_though_a_call_ran_out_of_it():
    spec = TableSpec(name="a", dim=16)
    tables, ids, out = Tables([spec], threads=1), np.arange(400_000), np.zeros((400_000, 16), np.float32)
    tables.lookup("a", -1 - ids[:1000], insert=True, out=out[:1000])
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (16 << 20), before[1]))  # no second slab of rows
    try:
        with pytest.raises(MemoryError):
            tables.lookup("a", ids, insert=True, out=out)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    keys = tables.keys("a")
    assert 100_000 < len(keys) < 401_000
    assert np.array_equal(tables.lookup("a", keys), Tables([spec]).lookup("a", keys, insert=True))
    tables.lookup("a", ids, insert=True, out=out)
    assert tables.rows("a") == len(tables.keys("a")) == 401_000
