import pytest

from larix.serve.stats import Histogram


def test_a_quantile_is_the_bound_that_so_many_values_do_not_pass():
    values = Histogram((1.0, 2.0, 4.0), (5, 3, 1, 1), 20.0)
    assert values.count == 10
    assert [values.quantile(share) for share in (0.1, 0.5, 0.6, 0.8, 0.9)] == [1.0, 1.0, 2.0, 2.0, 4.0]


def test_a_quantile_above_all_bounds_is_the_largest_bound():
    assert Histogram((1.0, 2.0), (1, 0, 9), 100.0).quantile(0.99) == 2.0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_without_values_a_quantile_is_0(share):
    assert Histogram((1.0, 2.0), (0, 0, 0), 0.0).quantile(share) == 0.0
    assert Histogram((), (0,), 0.0).quantile(share) == 0.0
