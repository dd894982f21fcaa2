from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import shop
import stock

from larix.serve import parity
from larix.serve.parity import ParityError
from larix.serve.scorer import Looked, User
from larix.serve.warm import Warm


class Told:
    """A scorer that says of request r what ``logits[r]`` has, whatever order it is asked in."""

    def __init__(self, warm, logits, together=None):
        self.logits, self.together, self.seen = logits, logits if together is None else together, []
        contexts = [context for context, _ in parity._records(stock.signature(), warm)]
        self._number = {context.column(0)[0].as_py(): at for at, context in enumerate(contexts)}

    def user(self, context):
        return User(arrays={"r": np.array([self._number[context.column(0)[0].as_py()]])}, stamp=None)

    def look_up(self, user, candidates):
        return Looked(user=user, rows=len(candidates), arrays={}, stamp=None)

    def score(self, looked):
        self.seen.append(len(looked))
        said = self.logits if len(looked) == 1 else self.together
        return [said[int(each.user.arrays["r"][0])] for each in looked]


@pytest.fixture(scope="module")
def warm():
    """With a user of its own in every request."""
    given = stock.warm(40)
    _, first = np.unique(given.records["user_id"].to_numpy(), return_index=True)
    return Warm(given.records.take(pa.array(first)), given.logits[first])


def test_features_of_a_request_are_those_of_training():
    parity.check_features(shop.sample(), stock.signature(), stock.warm(40))


def typed(side, column, dtype):
    """The shop's signature with another type for a column."""
    signature = stock.signature()
    schema = getattr(signature, side)
    return replace(signature, **{side: schema.set(schema.get_field_index(column), pa.field(column, dtype))})


def test_a_wider_type_says_the_same():
    parity.check_features(
        shop.sample(), typed("context", "seen_rating", pa.list_(pa.float64())), stock.warm(40)
    )


def test_a_column_that_comes_through_a_request_in_fewer_bits_is_found():
    narrow = typed("candidates", "price", pa.float32())
    with pytest.raises(ParityError, match="'cost' of logged sample 0 is not the same"):
        parity.check_features(shop.sample(), narrow, stock.warm(40))


@pytest.mark.parametrize(
    ("column", "change", "told"),
    [
        ("time_ms", lambda old: pa.array(old.cast(pa.int64()).to_numpy() + 3_600_000_000, old.type), "hour"),
        (
            "seen_ms",
            lambda old: pa.array([row and [row[0] - 1000, *row[1:]] for row in old.to_pylist()]),
            "history",
        ),
        ("tags", lambda old: pa.array([[*(row or ()), 8] for row in old.to_pylist()]), "tags"),
        ("last_item", lambda old: pa.array([row or 99 for row in old.to_pylist()]), "last"),
        ("tab", lambda old: pa.array([(row + 1) % 3 for row in old.to_pylist()]), "tab"),
        ("age", lambda old: pa.array([row and row + 1 for row in old.to_pylist()], pa.int8()), "age"),
    ],
)
def test_every_kind_of_feature_is_compared(column, change, told):
    """Logged a little otherwise than it is asked."""
    asked = stock.warm(40)
    at = asked.records.schema.get_field_index(column)
    logged = asked.records.set_column(at, column, change(asked.records[column]))
    with pytest.raises(ParityError, match=f"'{told}' of logged sample"):
        parity.check_features(shop.sample(), stock.signature(), Unlike(logged, asked))


class Unlike:
    """Samples logged one way, whose requests are those of another."""

    def __init__(self, logged, asked):
        self.records, self.candidates, self.requests = logged, asked.candidates, asked.requests


def test_logits_are_compared_alone_and_together(warm):
    scorer = Told(warm, warm.logits + np.float32(5e-5))
    found = parity.check_logits(scorer, stock.signature(), warm, 1e-4)
    assert found.requests == len(warm.logits) > 16
    assert found.candidates == 3
    assert 4e-5 < found.error < 6e-5
    assert scorer.seen[: found.requests] == [1] * found.requests
    assert set(scorer.seen) >= {1, 2, 3, 16}
    assert sum(scorer.seen) == 4 * found.requests


class ToldTogether(Told):
    """Says something else of requests that are looked up together."""

    def requests(self, asked):
        users = [self.user(context) for context, _ in asked]
        return [
            self.look_up(replace(user, arrays={"r": user.arrays["r"] * 0}), theirs)
            for user, (_, theirs) in zip(users, asked, strict=True)
        ]


def test_requests_that_are_looked_up_together_are_compared_as_such(warm):
    scorer = ToldTogether(warm, warm.logits)
    parity.logits_of(scorer, stock.signature(), warm, 1)
    with pytest.raises(ParityError, match="request, candidate and task"):
        parity.check_logits(scorer, stock.signature(), warm, 1e-4)


@pytest.mark.parametrize("wrong", [3e-4, np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("together", [False, True])
def test_one_logit_that_is_off_is_named(warm, wrong, together):
    off = warm.logits.copy()
    off[4, 2, 1] += np.float32(wrong)
    scorer = Told(warm, warm.logits, off) if together else Told(warm, off)
    with pytest.raises(
        ParityError, match=r"request, candidate and task 4, 2, 1\) is .* they may differ by 0\.0001"
    ):
        parity.check_logits(scorer, stock.signature(), warm, 1e-4)


def test_logits_come_in_the_order_of_requests(warm):
    for together in (1, 5, 1000):
        scorer = Told(warm, warm.logits)
        np.testing.assert_array_equal(
            parity.logits_of(scorer, stock.signature(), warm, together), warm.logits
        )
