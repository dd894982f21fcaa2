import re
from importlib.resources import files

from wire import ask


def test_the_page_is_one_file_that_takes_nothing_from_elsewhere(talk):
    told = talk("GET", "/")
    assert told.headers["content-type"].startswith("text/html")
    assert told.body == files("larix.serve.http").joinpath("page.html").read_bytes()
    assert not re.search(rb"""(src|href)\s*=|https?://|@import|innerHTML|document\.write|eval\(""", told.body)
    policy = told.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def test_the_page_asks_for_paths_that_there_are(server):
    text = files("larix.serve.http").joinpath("page.html").read_text(encoding="utf-8")
    paths = set(re.findall(r'call\("([^"]+)"', text))
    assert paths == {"/v1/examples", "/v1/examples/", "/v1/rank", "/v1/feedback"}
    for path in paths:
        method = "GET" if "examples" in path else "POST"
        assert ask(server, method, path, {} if method == "POST" else None).status in (200, 400, 404)


def test_metrics_are_text_for_prometheus(serving):
    told = ask(serving(metrics=lambda: "larix_up 1\n"), "GET", "/metrics")
    assert told.body == b"larix_up 1\n"
    assert told.headers["content-type"].startswith("text/plain; version=0.0.4")
