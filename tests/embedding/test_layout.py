import numpy as np
import pytest

from larix.batch import Batch, History, Jagged
from larix.embedding.layout import Layout, Output, Slot, slot_ids
from larix.errors import ConfigError, DataError

POOLED, HISTORY = Output(name="pooled", width=6), Output(name="history", width=4, length=3)


def layout(*slots):
    return Layout(outputs=(POOLED, HISTORY), slots=slots)


def slot(name, **more):
    return Slot(**({"name": name, "table": "a", "output": 0, "column": 0} | more))


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        ([slot("x", output=2)], "slot 'x' writes to output 2 but there are 2"),
        ([slot("x", pool="sequence")], "slot 'x' pools by 'sequence' but output 'pooled' has length 0"),
        ([slot("x", output=1)], "slot 'x' pools by 'sum' but output 'history' has length 3"),
        ([slot("x", output=1, pool="sequence")], "sequence slot 'x' must be named SEQUENCE.ELEMENT"),
        ([slot("x", table="b")], r"slot 'x' asks for table 'b'.*\['a'\]"),
        ([slot("x", column=3)], "slot 'x' needs columns 3..7 but output 'pooled' is 6 wide"),
        ([slot("x", column=-1)], "needs columns -1..3"),
        ([slot("x"), slot("y", column=2)], "slots 'x' and 'y' both write column 2 of"),
    ],
)
def test_a_layout_that_cannot_be_says_why(slots, sentence):
    with pytest.raises(ConfigError, match=sentence):
        layout(*slots).check({"a": 4})


def test_a_sequence_in_bf16_is_refused():
    with pytest.raises(ConfigError, match="output 'history' has a length and bf16"):
        Layout(outputs=(POOLED, Output(name="history", width=4, length=3, bf16=True)), slots=())


def test_slots_side_by_side_are_fine():
    layout(slot("x"), slot("h.y", output=1, pool="sequence")).check({"a": 4})


def test_slot_ids_come_in_layout_order_and_a_missing_one_is_named():
    history = History(np.array([0, 2]), {"v": np.array([8, 9])}, np.zeros((2, 0), np.float32))
    batch = Batch(size=1, ids={"x": Jagged(np.array([5]))}, sequences={"h": history}, dense=np.zeros((1, 0)))
    found = list(slot_ids(layout(slot("h.v", output=1, pool="sequence"), slot("x")), batch))
    assert [jagged.values.tolist() for jagged in found] == [[8, 9], [5]]
    with pytest.raises(DataError, match=r"no sequence 'h.w'; it has \['h.v'\]"):
        list(slot_ids(layout(slot("h.w", output=1, pool="sequence")), batch))
    with pytest.raises(DataError, match=r"no slot 'y'; it has \['x'\]"):
        list(slot_ids(layout(slot("y")), batch))
