import stock

from larix.serve.http import Action
from larix.serve.http.logged import LoggedPeople


def test_people_and_items_of_logged_samples_are_there_once_as_they_were():
    action = Action(title="buy", row={"kind": "buy"}, item="item_id", time_ms="at")
    warm, signature = stock.warm(), stock.signature()
    people = LoggedPeople("shop", signature, warm, most=3, items=5, actions=[action])
    logged = {context["user_id"]: context for context, _ in reversed(list(warm.requests(signature)))}
    listed = people.people()
    assert len(listed) == 3
    for name, title in listed:
        one = people.example(name)
        assert title == f"user_id {name}"
        assert {**one.user, **one.context} == logged[int(name)]
        assert one.user == {"user_id": int(name)}
        assert one.actions == [action]
        assert list(one.candidates) == signature.candidates.names
        assert [len(values) for values in one.candidates.values()] == [5] * len(one.candidates)
        assert len(set(one.candidates["item_id"])) == 5
    assert people.example("nobody") is None
