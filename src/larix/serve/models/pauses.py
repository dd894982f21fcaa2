"""Pauses in work that is done beside answers, on the same core. Knows nothing of what is done."""

import time
from collections.abc import Callable

_TIMES = 3.0  # the piece before: what waited for half of a core meanwhile is done away with by the fifth that is free at 80% load
_LONGEST_S = 0.5


def pauses(
    clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
) -> Callable[[], None]:
    """What is to be called between pieces of work that begins now: it waits some times as long as the last piece took.

    So whoever answers meanwhile never falls behind by more than one piece, some ten milliseconds of a network that is loaded,
    where without pauses it would be all of them.
    """
    began = clock()

    def pause() -> None:
        nonlocal began
        sleep(min(_TIMES * (clock() - began), _LONGEST_S))
        began = clock()

    return pause
