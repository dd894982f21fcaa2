"""The stores that every contract test runs on."""

import pytest
from restless import stores_in

from larix.embedding import reference, table


@pytest.fixture(params=["oracle", "native", "cold"])
def store(request, tmp_path_factory):
    if request.param == "cold":
        return stores_in(tmp_path_factory.mktemp("cold"))
    return {"oracle": reference.Tables, "native": table.Tables}[request.param]
