"""Where the time of a run goes: seconds by name. Knows nothing of what is timed."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


class Phases:
    """Adds up seconds by name; each name from one thread at a time."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        before = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - before

    def waiting(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """Yield ``items``, timing how long each keeps one waiting."""
        while True:
            with self(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
