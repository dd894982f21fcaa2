"""Who is let in: those with a token; from a browser, our own page alone. Knows nothing of what they ask."""

from dataclasses import dataclass

from larix.serve.http.call import Headers
from larix.serve.http.reply import Rejected
from larix.serve.http.tokens import Tokens
from larix.serve.reach import is_loopback

CHALLENGE = (("www-authenticate", 'Bearer realm="larix"'),)


@dataclass(frozen=True, slots=True)
class Door:
    """``tokens``: None lets in everybody who can reach us, which is for loopback alone."""

    tokens: Tokens | None = None

    def enter(self, headers: Headers, *, public: bool, changes: bool) -> str:
        """Who calls, "" if nobody is asked. ``public``: needs no token. ``changes``: what is asked is more than to read.

        Rejected: no token that opens (401), a page of another site in somebody's browser (403), or a name of ours that is not
        loopback's where no token is asked for (421), which is how such a page would get round the former.
        """
        host = headers.get("host")
        if self.tokens is None and host is not None and not is_loopback(_name(host)):
            raise Rejected(
                421, f"this server is not {host!r:.80}; without tokens it is for this machine alone"
            )
        origin = headers.get("origin")
        if changes and origin is not None and origin.partition("://")[2] != host:
            raise Rejected(403, f"a page of {origin!r:.80} may not ask here")
        if self.tokens is None or public:
            return ""
        bearer = self.tokens.bearer(headers.get("authorization"))
        if bearer is None:
            raise Rejected(401, "no known token; send it as Authorization: Bearer TOKEN", CHALLENGE)
        return bearer


def _name(authority: str) -> str:
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.rpartition(":")[0] or authority
