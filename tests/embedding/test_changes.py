"""Base and changes equal the table: random histories of the oracle and of the native store."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from versions import contents, do, held, make

from larix.embedding import fold, storage
from larix.embedding.changes import combine
from larix.embedding.snapshot import joined
from larix.errors import ConfigError, StorageError

# A store is made in each example; the fixture only says which kind.
RANDOM = settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def follower_of(tables):
    """A store that begins where ``tables`` is."""
    with tables.snapshot() as base:
        return storage.restore(
            base, lambda specs, seed: type(tables)(specs, seed=seed), tracked=False, source=""
        )


@RANDOM
@given(st.integers(0, 2**32), st.lists(st.integers(0, 6), min_size=1, max_size=8), st.data())
def test_a_base_and_the_changes_since_give_the_table_always(store, seed, lengths, data):
    rng = np.random.default_rng(seed)
    tables = make(store)
    for _ in range(5):
        do(tables, rng)
    since = [tables.cut()]
    follower = follower_of(tables)
    for length in lengths:
        for _ in range(length):
            do(tables, rng)
        if data.draw(st.booleans()):
            since.append(tables.cut())
        # From where it stands, or from any number before that: more than is needed does no harm.
        begin = data.draw(st.sampled_from([each for each in since if each < follower.sequence]))
        changes = tables.changes(begin)
        now = contents(tables)
        storage.merge(follower, changes)
        assert contents(follower) == now
        assert (follower.sequence - 1, follower.steps) == (changes.last, tables.steps)
        assert follower.clock == tables.clock
        assert not storage.merge(follower, changes), "what is there already is not taken over again"
        again = follower_of(follower)
        for name, touched in changes.tables.items():  # put again by hand it changes nothing
            again.remove(name, touched.removed)
            storage.put(again, touched.piece(name))
        assert contents(again) == now
        since.append(changes.last)
        if data.draw(st.integers(0, 3)) == 0:
            tables.forget(changes.last)
            since = [changes.last]


@RANDOM
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_changes_combined_or_folded_into_arrays_do_the_same_as_one_by_one(store, seed, count):
    rng = np.random.default_rng(seed)
    tables = make(store)
    do(tables, rng, most=40)
    began = tables.cut()
    with tables.snapshot() as base:
        pieces = list(base)
    rows = {name: [piece for piece in pieces if piece.table == name] for name in tables.specs}
    rows = {name: joined(of) for name, of in rows.items() if of}
    folded, all_of_it = rows, []
    for _ in range(count):
        for _ in range(rng.integers(0, 4)):
            do(tables, rng, most=40)
        all_of_it.append(tables.changes(all_of_it[-1].last if all_of_it else began))
        folded = fold(folded, all_of_it[-1])
    assert held(folded.values()) == contents(tables)
    assert held(fold(rows, combine(all_of_it)).values()) == contents(tables)
    together, at_once = combine(all_of_it), tables.changes(began)
    for name in tables.specs:
        for left, right in zip(together.tables[name], at_once.tables[name], strict=True):
            assert np.array_equal(left, right)
        assert (np.diff(folded[name].ids) > 0).all() if name in folded else True


def test_changes_say_what_changed_and_what_is_gone_by_rising_id(store):
    tables = make(store)
    tables.lookup("plain", np.array([5, 3, 4]), insert=True)
    since = tables.cut()
    tables.clock = 77
    tables.update("plain", np.array([4, 3]), np.ones((2, 3), np.float32))
    tables.lookup("plain", np.array([9, -9, 3]), insert=True)
    tables.lookup("plain", np.array([5]))  # reading changes nothing
    tables.remove(
        "plain", np.array([9, 3, 1234])
    )  # one born in between, one that was there, one that never was
    changes = tables.changes(since)
    assert (changes.first, changes.last) == (since + 1, tables.sequence - 1)
    plain = changes.tables["plain"]
    assert plain.ids.tolist() == [-9, 4]
    assert plain.removed.tolist() == [3, 9]
    weights, state = tables.read("plain", plain.ids)
    assert np.array_equal(plain.weights, weights)
    assert np.array_equal(plain.state, state)
    assert plain.seen.tolist() == [77, 77]
    assert [len(array) for array in changes.tables["full"]] == [0] * 6
    tables.lookup("plain", np.array([3]), insert=True)  # born again: no longer gone
    assert tables.changes(since).tables["plain"].removed.tolist() == [9]


def test_sequence_numbers_end_only_if_something_happened(store):
    tables = make(store)
    assert (tables.sequence, tables.kept, tables.steps, tables.clock) == (1, None, 0, 0)
    assert tables.cut() == 0
    assert (tables.sequence, tables.kept) == (1, 0)
    tables.lookup("plain", np.array([1]), insert=True)
    assert [tables.cut(), tables.cut(), tables.sequence] == [1, 1, 2]
    changes = tables.changes(1)
    assert (changes.first, changes.last) == (2, 1)
    tables.remove("plain", np.array([1]))
    assert tables.changes(1).last == 2
    tables.update("plain", np.array([1]), np.ones((1, 3), np.float32))  # lost, and yet a step
    assert (tables.cut(), tables.steps) == (3, 1)


def test_changes_that_are_not_kept_or_not_yet_are_refused(store):
    tables = make(store)
    with pytest.raises(ConfigError, match=r"kept from the first cut\(\) on"):
        tables.changes(0)
    for one in range(4):
        tables.lookup("plain", np.array([one]), insert=True)
        tables.cut()
    with pytest.raises(ConfigError, match="since sequence 0 were asked for but only those since 1 are kept"):
        tables.changes(0)
    with pytest.raises(ConfigError, match="sequence 5 has not ended: the last that has is 4"):
        tables.changes(5)
    with pytest.raises(ConfigError, match="sequence 9 has not ended"):
        tables.forget(9)
    tables.forget(3)
    tables.forget(2)  # what is gone is gone
    with pytest.raises(ConfigError, match="only those since 3 are kept; begin with a snapshot"):
        tables.changes(2)
    assert tables.changes(3).tables["plain"].ids.tolist() == [3]


def test_a_gap_between_changes_is_refused(store):
    tables = make(store)
    tables.cut()
    follower = follower_of(tables)
    tables.lookup("plain", np.array([1]), insert=True)
    middle = tables.cut()
    tables.lookup("plain", np.array([2]), insert=True)
    late = tables.changes(middle)
    with pytest.raises(
        StorageError, match=r"begin with sequence 2 but the rows stand at 0.*load a newer base"
    ):
        storage.merge(follower, late)
    assert len(follower) == 0
    with pytest.raises(StorageError, match="load a newer base"):
        combine([tables.changes(0), replace(late, first=9)])


def test_a_store_does_not_go_back(store):
    tables = make(store)
    with tables.snapshot() as early:
        pass
    tables.lookup("plain", np.array([1]), insert=True)
    tables.cut()
    with pytest.raises(
        ConfigError, match="rows have changed since the end of sequence 0: a store does not go back"
    ):
        tables.resume(early.instant)


def test_the_clock_counts_training_gathers_until_it_is_set(store):
    from larix.batch import Batch, Jagged
    from larix.embedding import Layout, Output, Slot

    tables = make(store)
    layout = Layout(
        outputs=(Output(name="o", width=3),), slots=(Slot(name="s", table="plain", output=0, column=0),)
    )

    def gather(one, insert):
        batch = Batch(
            size=1, ids={"s": Jagged(np.array([one]))}, sequences={}, dense=np.zeros((1, 0), np.float32)
        )
        return tables.gather(layout, batch, [np.zeros((1, 3), np.float32)], insert=insert)

    gather(1, True)
    gather(1, False)
    lookup = gather(2, True)
    assert tables.clock == 2
    tables.clock = 1000
    gather(3, True)
    tables.apply(lookup, [np.ones((1, 3), np.float32)])
    assert tables.clock == 1000
    (piece,) = tables.snapshot()
    assert dict(zip(piece.ids.tolist(), piece.seen.tolist(), strict=True)) == {1: 1, 2: 1000, 3: 1000}
    for wrong in (-1, 2**32):
        with pytest.raises(ConfigError, match=f"the clock was set to {wrong}"):
            tables.clock = wrong
