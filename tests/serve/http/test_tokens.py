import pytest

from larix.errors import ConfigError
from larix.serve.http import Tokens

ONE, TWO = "0123456789abcdef", "fedcba9876543210"


def test_each_token_opens_and_is_somebody_else():
    tokens = Tokens([ONE, TWO])
    first, second = tokens.bearer(f"Bearer {ONE}"), tokens.bearer(f"bearer  {TWO} ")
    assert first
    assert second
    assert first != second
    assert ONE not in first
    assert Tokens([ONE]).bearer(f"Bearer {ONE}") == first


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {ONE}x",
        f"Bearer {ONE[:-1]}",
        f"Basic {ONE}",
        ONE,
        f"Bearer {ONE} {ONE}",
        "Bearer é" * 9,
    ],
)
def test_nothing_else_opens(header):
    assert Tokens([ONE, TWO]).bearer(header) is None


def test_a_wrong_token_is_compared_with_all_of_them(monkeypatch):
    seen = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: seen.append((a, b)) or a == b)
    tokens = Tokens([ONE, TWO])
    for header in (f"Bearer {ONE}", f"Bearer {TWO}", "Bearer x", f"Basic {ONE}", None):
        seen.clear()
        tokens.bearer(header)
        assert len(seen) == 2
        assert all(len(a) == len(b) == 32 for a, b in seen)


def test_a_file_has_a_token_a_line(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# of the app\n{ONE}\n\n  {TWO}  \n")
    tokens = Tokens.read(path)
    assert tokens.bearer(f"Bearer {ONE}")
    assert tokens.bearer(f"Bearer {TWO}")
    assert not tokens.bearer("Bearer # of the app")


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "no token"), ("short", "could be guessed"), ("é" * 20, "header"), ("a b" * 9, "header")],
)
def test_a_file_without_good_tokens_is_refused(tmp_path, text, why):
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why) as told:
        Tokens.read(path)
    assert "tokens" in str(told.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        Tokens.read(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff" * 30)
    with pytest.raises(ConfigError, match="cannot read"):
        Tokens.read(tmp_path / "bytes")
