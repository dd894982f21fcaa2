"""Whether a host is this machine's for itself alone. Knows no protocol."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Of a name or an address."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
