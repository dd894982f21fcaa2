"""A thread that is lent to engines: an event loop's, whose own callbacks ask for answers. Knows nothing of what they are."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Soon = Callable[[Callable[[], None]], object]

_LENT = threading.local()


@contextmanager
def lent(soon: Soon) -> Iterator[None]:
    """Have an engine of one worker carry out on this thread what is asked for on it, until this is left.

    ``soon``: has this thread call a function between other things, as a loop's ``call_soon``. Nothing is handed to another
    thread then, and nothing is answered while a run goes on: for whoever has nothing else to do.
    """
    _LENT.soon = soon
    try:
        yield
    finally:
        _LENT.soon = None


def here() -> Soon | None:
    """How this thread is had to call a function; None if it is not lent."""
    soon: Soon | None = getattr(_LENT, "soon", None)
    return soon
