"""What a server adds to the bare engine: the engine alone on the server's cores, and the difference. Knows nothing of servers."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import Worker

QUIET_PER_S, QUIET_S = 20.0, 3.0  # so seldom, and for so long at least, that there is hardly anything to do


def bare(
    requests: Path, bundle: Path, cores: Sequence[int], rounds: int, streams: int, processes: int
) -> dict[str, list[float]]:
    """The engine alone on ``cores``: as many processes of as many streams, all at once, what they answer summed, by round.

    Each has a core of its own where a worker of the server has one: without, they would move between cores, and answer less.
    """
    path = str(Path(__file__).with_name("serve_bare.py"))
    own = streams == 1 and 0 < processes <= len(cores)
    held = [cores[at : at + 1] if own else cores for at in range(max(1, processes))]
    workers = [
        Worker(sys.executable, path, [str(bundle), str(requests), str(streams), ",".join(map(str, each))])
        for each in held
    ]
    with ThreadPoolExecutor(len(workers)) as pool:
        found = [list(pool.map(Worker.round, workers)) for _ in range(rounds)]
    for worker in workers:
        worker.end()
    return {
        "capacity": [sum(each["capacity"] for each in together) for together in found],
        **{
            metric: [statistics.median(each[metric] for each in together) for together in found]
            for metric in ("alone_ms", "quiet_ms")
        },
    }


def added(
    found: Mapping[str, Sequence[float]], alone: Mapping[str, Sequence[float]]
) -> dict[str, tuple[list[float], str]]:
    """`adds` and `adds_ms_alone` with their units, of what was measured of a server and of the engine alone, by metric."""
    capacity, quiet = (statistics.median(alone[metric]) for metric in ("capacity", "quiet_ms"))
    shares = [1 - each / capacity for each in found.get("saturated_per_s", ())]
    more = [each - quiet for each in found.get("quiet_ms", ())]
    return {
        metric: (values, unit)
        for metric, values, unit in (("adds", shares, "share"), ("adds_ms_alone", more, "ms"))
        if values
    }
