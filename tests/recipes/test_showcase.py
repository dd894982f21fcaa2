import io
import json
import shutil
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import urlsplit

import pytest
import small_feed
from rich.console import Console

from larix.errors import ConfigError, LarixError
from larix.recipes import carry_out
from larix.recipes.replay import Place, replay
from larix.recipes.showcase import post, showcase

RECIPE = f"{Path(__file__).with_name('showcased.py')}:tiny"


def quiet():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def replayed(place, data):
    folder = place / "runs" / "showcased"
    carry_out(RECIPE, ["steps=8"], folder, quiet(), data=data)
    replay(folder, quiet(), speed=None)
    return folder


def test_a_replay_over_several_partitions_is_refused(replayed, tmp_path):
    Place(tmp_path / "wide").begin(replace(Place.of(replayed).told(), partitions=3))
    with (
        pytest.raises(ConfigError, match="replayed over 3 partitions"),
        showcase(replayed, at=tmp_path / "wide"),
    ):
        pass


def get(url, path):
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_guests_act_and_come_back_to_pages_of_what_was_learned_of_it(replayed):
    with showcase(replayed) as case:
        visits = case.visits(["like", "skip"])
        assert len(visits) == 3
        for visit in visits:
            before, after, learned = (each["stamp"] for each in (visit.before, visit.after, visit.learned))
            assert before["rows"] <= after["rows"] < learned["rows"]
            assert before["history"] == learned["history"]
            assert learned["dense"] <= learned["rows"]
            assert learned["event_ms"] > before["event_ms"]
            assert len(visit.learned["items"]) == 10
            assert [item["position"] for item in visit.learned["items"]] == [*range(10)]
            assert set(visit.acts.values()) == {"like", "skip"}
            assert visit.acts.keys() <= {item["item"] for item in visit.before["items"]}
            assert all("shares_sum_to" in item["why"] for item in visit.learned["items"])
        values = [[item["value"] for item in page["items"]] for page in (visits[0].before, visits[0].learned)]
        assert values[0] != values[1]


def test_the_page_in_a_browser_has_its_people_and_takes_what_they_do(replayed):
    with showcase(replayed) as case:
        status, page = get(case.url, "/")
        assert status == 200
        assert b"<!doctype html>" in page.lower()
        people = json.loads(get(case.url, "/v1/examples")[1])
        assert [each["name"] for each in people] == list(case.guests.guests)
        name = people[0]["name"]
        one = json.loads(get(case.url, f"/v1/examples/{name}")[1])
        body = {key: one[key] for key in ("model", "user", "context", "candidates")}
        first = post(case.url, "/v1/rank", body)
        until = monotonic() + 60
        while (
            monotonic() < until
        ):  # what was done is known to have no more to it once something later was done
            item, action = first["items"][0]["item"], one["actions"][0]
            row = {**action["row"], action["item"]: item, action["time_ms"]: 1}
            assert post(case.url, "/v1/feedback", {"actions": [row]})["taken"] == 1
            if post(case.url, "/v1/rank", body)["stamp"]["rows"] > first["stamp"]["rows"]:
                break
            sleep(0.3)
        else:
            pytest.fail("nothing was learned of what was done in the browser")
        assert case.guests.ask(name).at_ms > first["stamp"]["event_ms"]
        with pytest.raises(LarixError, match=r"refused with 400: .*has a column 'did_it'"):
            post(case.url, "/v1/feedback", {"actions": [{"did_it": 1}]})
        with pytest.raises(LarixError, match="refused with 400: there is no guest 'nobody'"):
            post(case.url, "/v1/feedback", {"actions": [row | {"guest": "nobody"}]})


def test_what_cannot_be_shown_is_refused(place, data, replayed, tmp_path):
    bare = shutil.copytree(replayed, tmp_path / "bare", ignore=shutil.ignore_patterns("replay", "bundles"))
    with (
        pytest.raises(ConfigError, match="was not replayed; begin with: larix replay"),
        showcase(bare),
    ):
        pass
    config = json.loads((replayed / "config.json").read_text())
    other = shutil.copytree(replayed, tmp_path / "other", ignore=shutil.ignore_patterns("bundles"))
    (other / "config.json").write_text(json.dumps(config | {"recipe": small_feed.TINY}))
    with pytest.raises(ConfigError, match="does not say what can be done"), showcase(other):
        pass
