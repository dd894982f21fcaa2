import pytest

from larix.errors import ConfigError
from larix.serve.reach import check_reach, is_loopback


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.8.9.10", "::1"])
def test_what_nobody_else_can_reach_is_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "example.org", "localhost.example.org", "10.0.0.1", "", "127.1"]
)
def test_everything_else_is_not(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "guarded", "tls", "why"),
    [
        ("10.0.0.1", True, False, "not loopback"),
        ("10.0.0.1", False, True, "not loopback"),
        ("127.0.0.1", True, None, "belong together"),
        ("::1", False, "gone", "there is no file"),
    ],
)
def test_who_can_be_reached_by_others_needs_tokens_and_tls(host, guarded, tls, why, tmp_path):
    there = tmp_path / "there.pem"
    there.touch()
    cert, key = {
        True: (there, there),
        False: (None, None),
        None: (there, None),
        "gone": (there, tmp_path / "gone.pem"),
    }[tls]
    with pytest.raises(ConfigError, match=why):
        check_reach(host, guarded=guarded, cert=cert, key=key)
    check_reach("10.0.0.1", guarded=True, cert=there, key=there)
    check_reach("localhost", guarded=False, cert=None, key=None)
