"""Who can reach a server, and what it needs for that; what it may take of everybody. Knows no protocol."""

from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from larix.errors import ConfigError


@lru_cache(64)
def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's for itself alone."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_reach(host: str, *, guarded: bool, cert: Path | None, key: Path | None) -> None:
    """Raise ConfigError unless ``host`` is loopback, or there are TLS (``cert``, ``key``) and tokens (``guarded``)."""
    if (cert is None) != (key is None):
        raise ConfigError("a certificate and its key belong together; give both or none")
    if not is_loopback(host) and (cert is None or not guarded):
        raise ConfigError(
            f"'{host}' is not loopback: others can reach it, so tokens and TLS are needed; give a token file, a "
            "certificate and its key, or listen on 127.0.0.1"
        )
    for path in (cert, key):
        if path is not None and not path.is_file():
            raise ConfigError(f"there is no file {path}")


def check_limits(limits: Any) -> None:
    """Raise ConfigError unless every slot of ``limits`` is above 0, and ``timeout_s`` at most ``longest_s``."""
    for name in limits.__slots__:
        if not getattr(limits, name) > 0:
            raise ConfigError(f"limit {name} is {getattr(limits, name)}; it must be above 0")
    if limits.longest_s < limits.timeout_s:
        raise ConfigError(f"limit timeout_s is {limits.timeout_s}, above longest_s, {limits.longest_s}")
