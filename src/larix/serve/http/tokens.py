"""Who may ask: bearer tokens, kept as digests and compared in constant time. Knows nothing of what is asked."""

import hmac
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Self

from larix.errors import ConfigError

SHORTEST = 16
_SCHEME = "bearer "


class Tokens:
    """``tokens``: any of them opens. ConfigError if there is none, or one that is short or cannot stand in a header."""

    def __init__(self, tokens: Iterable[str]) -> None:
        given = list(tokens)
        for number, token in enumerate(given):
            if len(token) < SHORTEST:
                raise ConfigError(
                    f"token {number} has {len(token)} characters, fewer than {SHORTEST}, and could be guessed; "
                    "make one by: openssl rand -hex 32"
                )
            if not token.isascii() or not token.isprintable() or " " in token:
                raise ConfigError(f"token {number} has characters that cannot stand in a header")
        if not given:
            raise ConfigError("there is no token; make one by: openssl rand -hex 32")
        self._digests = tuple(sha256(token.encode()).digest() for token in given)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The tokens in a file, one a line; empty lines and those that begin with # do not count."""
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the tokens in {path}: {error}") from error
        try:
            return cls(line for line in lines if line and not line.startswith("#"))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def bearer(self, authorization: str | None) -> str | None:
        """Who it is that sends this header: a name made of the token. None if it opens nothing.

        Takes as long for a wrong token as for a right one, whatever it begins with.
        """
        header = authorization or ""
        scheme, token = header[: len(_SCHEME)], header[len(_SCHEME) :]
        digest = sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found = False
        for each in self._digests:
            found |= hmac.compare_digest(each, digest)
        return digest.hex()[:16] if found and scheme.lower() == _SCHEME else None
