import pytest

from larix.errors import ConfigError
from larix.serve.ledger import Ledger


def test_it_says_which_bound_would_break():
    ledger = Ledger(100, 60)
    ledger.take(b"ann", 60)
    assert ledger.lacks(b"ann", 1) == "each"
    assert ledger.lacks(b"bob", 40) == ""
    assert ledger.lacks(b"bob", 41) == "whole"
    ledger.take(b"bob", 10)
    assert (ledger.total, ledger.of(b"ann"), ledger.of(b"bob"), ledger.largest) == (70, 60, 10, b"ann")


def test_who_has_given_all_back_leaves_nothing():
    ledger = Ledger(100, 60)
    ledger.take(b"ann", 60)
    ledger.give(b"ann", 20)
    assert ledger.bearers == 1
    ledger.give(b"ann", 40)
    assert (ledger.bearers, ledger.total, ledger.of(b"ann")) == (0, 0, 0)


def test_nothing_below_zero():
    ledger = Ledger(100, 60)
    with pytest.raises(ConfigError, match="-1 bytes"):
        ledger.take(b"ann", -1)
    ledger.take(b"ann", 5)
    with pytest.raises(AssertionError, match="more was given back"):
        ledger.give(b"ann", 6)
