import numpy as np
import pytest

from larix.embedding.core import place
from larix.embedding.layout import Output
from larix.embedding.precision import bf16_of


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("size", "width", "count"), [(0, 3, 2), (2, 0, 0), (5, 3, 3), (300, 47, 13), (3, 2, 0)]
)
def test_values_are_placed_in_the_last_columns_alone(size, width, count, bf16):
    values = np.random.default_rng(0).standard_normal((size, count)).astype(np.float32)
    buffer = np.full((size, width), 7, np.uint16 if bf16 else np.float32)
    place(Output(name="o", width=width, bf16=bf16), buffer, values)
    assert (buffer[:, : width - count] == 7).all()
    np.testing.assert_array_equal(buffer[:, width - count :], bf16_of(values) if bf16 else values)


def test_values_that_are_wider_than_their_buffer_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        place(Output(name="o", width=3), np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))
