from larix.serve.http import Limits, routes
from larix.serve.http.openapi import OPERATIONS


def test_no_two_routes_are_alike_and_none_hides_another(service):
    made = routes(service, Limits())
    assert len({(route.method, route.path) for route in made}) == len(made)
    for number, route in enumerate(made):
        parts = route.path.split("/")
        for earlier in made[:number]:
            other = earlier.path.split("/")
            alike = len(parts) == len(other) and all(
                a == b or a == "{}" for a, b in zip(other, parts, strict=True)
            )
            assert not (alike and earlier.path != route.path), f"{earlier.path} hides {route.path}"


def test_what_changes_something_is_never_public(service):
    assert not [route.path for route in routes(service, Limits()) if route.public and route.changes]


def test_public_routes_are_those_that_the_document_says(service):
    made = {route.path for route in routes(service, Limits()) if route.public}
    assert made == {each.path for each in OPERATIONS if each.public}
