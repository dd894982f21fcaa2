"""The two stores that every contract test runs on."""

import pytest

from larix.embedding import reference, table


@pytest.fixture(params=[reference.Tables, table.Tables], ids=["oracle", "native"])
def store(request):
    return request.param
