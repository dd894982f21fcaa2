"""Which requests share a run, in how many runs a large one goes, and whether to wait: by measured cost, rows counted.

Pure functions of numbers. Knows nothing of threads, of queues or of networks. ``seconds``: see ``Scorer.seconds``.
"""

from collections.abc import Callable, Sequence

Seconds = Callable[[Sequence[int]], float]


def split(rows: int, free: int, largest: int, seconds: Seconds, waste: float) -> list[int]:
    """The sizes of the runs that a request of ``rows`` goes in: none above ``largest``, as even as can be.

    As few as possible, unless ``free`` streams are idle and more runs would be done sooner, side by side, at no more
    than ``waste`` of additional work.
    """
    fewest = -(-rows // largest)
    if fewest == 1 and free <= 1:
        return [rows]
    best, least = fewest, _rounds(fewest, free) * seconds((-(-rows // fewest),))
    most_work = (1 + waste) * fewest * seconds((-(-rows // fewest),))
    for parts in range(fewest + 1, min(free, rows) + 1):
        each = seconds((-(-rows // parts),))
        # A twentieth is not worth another hand-over.
        if parts * each <= most_work and _rounds(parts, free) * each < 0.95 * least:
            best, least = parts, _rounds(parts, free) * each
    base, more = divmod(rows, best)
    return [base + 1] * more + [base] * (best - more)


def _rounds(parts: int, free: int) -> int:
    return -(-parts // max(free, 1))


def share(
    rows: Sequence[int],
    free: int,
    largest: int,
    together: int,
    seconds: Seconds,
    spare: Sequence[float] | None = None,
) -> list[int]:
    """Which of those waiting (``rows`` of each, the first has waited longest) go together in the next run; 0 always does.

    Never more rows than ``largest`` or more requests than ``together``; with several streams ``free`` no more than this
    one's share of the rows; only what takes less time together than apart; nobody is taken along who would make another late.
    ``spare``: seconds until each is late.
    """
    chosen, total, apart = [0], rows[0], seconds((rows[0],))
    fair = -(-sum(rows) // max(free, 1))
    soonest = spare[0] if spare is not None else float("inf")
    sizes, best, saved = [rows[0]], 1, 0.0
    for index in range(1, len(rows)):
        if total >= fair or len(chosen) >= together:
            break
        if total + rows[index] > largest:
            continue
        taken = seconds((*sizes, rows[index]))
        within = min(soonest, spare[index]) if spare is not None else soonest
        if taken > within:  # somebody would be late
            continue
        chosen.append(index)
        sizes.append(rows[index])
        total, soonest = total + rows[index], within
        apart += seconds((rows[index],))
        if apart - taken >= saved > 0 or apart - taken > saved:
            best, saved = len(chosen), apart - taken
    return chosen[:best]


def worth(
    rows: Sequence[int],
    coming: Sequence[tuple[float, int]],
    largest: int,
    together: int,
    seconds: Seconds,
) -> float:
    """How many seconds a run of ``rows`` should wait for one of those ``coming`` to share it; 0: go at once.

    ``coming``: in how many seconds, and with how many rows, each is expected. A stream that waits does nothing, so that a
    request is waited for only if sharing saves more than it is expected to take.
    """
    total = sum(rows)
    if len(rows) >= together:
        return 0.0
    best = 0.0
    now = seconds(rows)
    for ready, more in coming:
        if ready > 0 and total + more <= largest:
            saved = now + seconds((more,)) - seconds((*rows, more))
            if saved > ready:
                best = max(best, saved)
    return best
