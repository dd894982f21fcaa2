import contextlib
import re
from collections import Counter

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from wire import TOKEN

from larix.serve.http import Limits, routes
from larix.serve.http.openapi import OPERATIONS, document

CHECKS = (not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance)


def test_every_route_is_told_and_nothing_else(service):
    made = {(route.method, route.path) for route in routes(service, Limits())}
    assert made == {(each.method, re.sub(r"{\w+}", "{}", each.path)) for each in OPERATIONS}


def test_tokens_are_told_of_where_they_are_needed():
    guarded, open_ = document(Limits(), guarded=True), document(Limits(), guarded=False)
    assert guarded["paths"]["/v1/rank"]["post"]["security"] == [{"bearer": []}]
    assert "401" in guarded["paths"]["/v1/rank"]["post"]["responses"]
    assert "security" not in guarded["paths"]["/v2/health/live"]["get"]
    assert "securitySchemes" not in open_["components"]


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_the_document_allows_or_forbids_is_answered_as_it_says(serving, mode):
    """Schemathesis makes calls of the document, right and wrong ones; none may be a fault of the server's."""
    server = serving(tokens=[TOKEN])
    whole = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    ran = Counter()
    with requests.Session() as session:
        for one in whole.get_all_operations():
            operation = one.ok()
            ran[operation.label] += 0
            with contextlib.suppress(Unsatisfiable):  # what has no inputs cannot be called wrongly
                called(operation, mode, server, session, ran)
    assert len(ran) == len(OPERATIONS) - 1  # the document itself is not called
    assert ran["POST /v1/rank"] >= 10
    assert {status for *_, status in server.app.counts} >= {200, 400, 404}


def called(operation, mode, server, session, ran):
    @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(mode))
    def call(case):
        headers = {"authorization": f"Bearer {TOKEN}"}
        case.call_and_validate(base_url=server.url, session=session, headers=headers, checks=CHECKS)
        ran[operation.label] += 1

    call()
