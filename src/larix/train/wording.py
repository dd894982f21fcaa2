"""Numbers as people write them, for pages and terminals. Knows nothing of what they count."""

import datetime
import math
from collections.abc import Iterable


def count(value: float | None) -> str:
    """Write a whole number with thousands apart."""
    return "–" if value is None else f"{value:,.0f}"


def metric(value: float | None, digits: int = 4) -> str:
    """Write a metric with ``digits`` decimals."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def delta(value: float | None, digits: int = 4) -> str:
    """Write a difference with its sign, a real minus."""
    return "" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def percent(value: float | None) -> str:
    """Write a share as a percentage of three significant digits or so."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}%" if value >= 0.1 or value == 0 else f"{100 * value:.2g}%"


def size(value: float | None) -> str:
    """Write a number of bytes in the binary unit that fits."""
    if value is None:
        return "–"
    power = min(4, int(math.log(max(value, 1), 1024)))
    return f"{value:,.0f} B" if power == 0 else f"{value / 1024**power:,.1f} {'KMGT'[power - 1]}iB"


def span(seconds: float | None) -> str:
    """Write a duration as people say it."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def days(given: Iterable[str]) -> str:
    """Write the first and the last of some ISO dates as people do: ``25 Apr – 6 May 2022``."""
    ordered = sorted(given)
    if not ordered:
        return "–"
    try:
        first, last = (datetime.date.fromisoformat(day) for day in (ordered[0], ordered[-1]))
    except ValueError:
        return " – ".join(dict.fromkeys((ordered[0], ordered[-1])))
    if first == last:
        return f"{last.day} {last:%b %Y}"
    start = (
        f"{first.day}" if (first.year, first.month) == (last.year, last.month) else f"{first.day} {first:%b}"
    )
    start += f" {first.year}" if first.year != last.year else ""
    return f"{start} – {last.day} {last:%b %Y}"
