import pytest

from larix.serve.hosts import is_loopback


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.8.9.10", "::1"])
def test_what_nobody_else_can_reach_is_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "example.org", "localhost.example.org", "10.0.0.1", "", "127.1"]
)
def test_everything_else_is_not(host):
    assert not is_loopback(host)
