from wire import ask

from larix.serve.http import Action, Example


class Two:
    def __init__(self):
        self.seen = []

    def people(self):
        return [("5", "Ann"), ("6", "Bob")]

    def example(self, name):
        if name not in ("5", "6"):
            return None
        return Example(
            name=name,
            title="Ann",
            user={"user_id": int(name)},
            context={"past": list(self.seen)},
            candidates={"video_id": [1, 2, 3]},
            actions=[Action(title="like", row={"user_id": int(name)}, item="video_id", time_ms="at")],
            names={"1": "first"},
        )


def test_people_can_be_chosen_and_asked_for_as_they_are_now(serving, service):
    examples = Two()
    server = serving(examples=examples)
    assert ask(server, "GET", "/v1/examples").document == [
        {"name": "5", "title": "Ann"},
        {"name": "6", "title": "Bob"},
    ]
    one = ask(server, "GET", "/v1/examples/5").document
    assert one["actions"] == [{"title": "like", "row": {"user_id": 5}, "item": "video_id", "time_ms": "at"}]
    asked = {name: one[name] for name in ("model", "user", "context", "candidates")}
    assert ask(server, "POST", "/v1/rank", asked).status == 200
    examples.seen.append(2)
    assert ask(server, "GET", "/v1/examples/5").document["context"] == {"past": [2]}
    assert ask(server, "GET", "/v1/examples/7").status == 404


def test_a_server_with_nobody_to_show_says_so(talk):
    assert talk("GET", "/v1/examples").document == []
    assert talk("GET", "/v1/examples/5").status == 404
