import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix import features as fx

from .test_planned import PLAIN, SAMPLE, careful, plain
from .test_transform import record_batch, rows


def taken(packed, at):
    """Values and offsets of a slot of it."""
    first, count, row = packed.found[at].tolist()
    return packed.ids[first : first + count], None if row < 0 else packed.offsets[row]


def expected(batch, name):
    """Values and offsets of a slot of ``batch``."""
    if name in batch.ids:
        return batch.ids[name].values, batch.ids[name].offsets
    sequence, _, element = name.partition(".")
    return batch.sequences[sequence].ids[element], batch.sequences[sequence].offsets


@settings(deadline=None, max_examples=100)
@given(rows)
def test_every_slot_is_found_among_all_ids_nulls_left_out(rows):
    records = record_batch(rows, PLAIN)
    packed = SAMPLE.packed(records)
    if packed is None:
        return
    batch = careful(records)
    elements = [f"{name}.{each}" for name, of in SAMPLE.sequences.items() for each in of.ids]
    assert packed.order.slots == (*SAMPLE.id_slots, *elements)
    for at, name in enumerate(packed.order.slots):
        for found, wanted in zip(taken(packed, at), expected(batch, name), strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert packed.missing == {name: count for name, count in batch.missing.items() if count}
    assert packed.dense.tobytes() == batch.dense.tobytes()
    np.testing.assert_array_equal(packed.scene, batch.scene)
    for name, offsets, dense in packed.histories():
        np.testing.assert_array_equal(offsets, batch.sequences[name].offsets)
        assert dense.shape == batch.sequences[name].dense.shape
        assert dense.tobytes() == batch.sequences[name].dense.tobytes()


def test_a_null_leaves_a_gap_in_its_own_slot_alone():
    holes = plain(4).set_column(0, "user", pa.array([7, None, None, 9]))
    packed = SAMPLE.packed(holes)
    values, offsets = taken(packed, 0)
    assert packed.order.slots[0] == "user"
    assert (values.tolist(), offsets.tolist()) == ([7, 9], [0, 1, 1, 1, 2])
    assert packed.missing["user"] == 2
    flags = taken(packed, packed.order.slots.index("flag"))
    assert (flags[0].tolist(), flags[1]) == ([1] * 4, None)


@pytest.mark.parametrize(
    "records",
    [
        plain(0),
        plain(2).drop_columns(["user"]),
        plain(2).set_column(0, "user", pa.array([0.5] * 2)),
        plain(2).set_column(9, "scene", pa.array([None, 1], pa.uint8())),
    ],
    ids=["nothing", "a column less", "another type", "no scene"],
)
def test_what_is_unusual_is_not_packed(records):
    assert SAMPLE.packed(records) is None


def test_what_is_not_fitted_is_not_packed():
    sample = fx.Sample(user=fx.Id("user", dim=2), number=fx.Bucket("time", quantiles=4, dim=2))
    records = plain(3).set_column(5, "time", pa.array([1.0, 2.0, 3.0]))
    assert sample.packed(records) is None
    assert sample.fit([records]).packed(records).size == 3


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9))
def test_sequences_lie_behind_all_id_slots_and_one_may_be_without_numbers(count):
    sample = fx.Sample(
        play=fx.Sequence(word=fx.Id("hist_word", dim=2), play=fx.Dense("hist_play", missing=5.0), newest=3),
        user=fx.Id("user", dim=2),
        past=fx.Sequence(user=fx.Id("hist_user", dim=2), newest=1),
    )
    packed = sample.packed(plain(count))
    assert packed.order.slots == ("user", "play.word", "past.user")
    assert taken(packed, 2)[0].tolist() == [2] * count  # the newest of two
    (_, offsets, play), (_, _, nothing) = packed.histories()
    assert offsets.tolist() == [2 * at for at in range(count + 1)]
    assert play.tolist() == [[1.0], [5.0]] * count
    assert nothing.shape == (count, 0)
    assert packed.missing == {"play.play": count}
