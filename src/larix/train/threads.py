"""The threads that torch computes with, found so that tables can work on them too.

Two teams on the same cores fight: torch's spins for its next kernel while the tables' need the core. Knows OpenMP by one
symbol only.
"""

import ctypes
from pathlib import Path

import torch

_MAPS = Path("/proc/self/maps")


def torch_team() -> int:
    """The address of ``GOMP_parallel`` in the OpenMP library that torch computes with, for ``Tables.borrow_threads``.

    0 where torch has another kind of threads, or one alone, so that there is no team, or the system does not tell.
    """
    if torch.get_num_threads() == 1 or not _MAPS.exists():
        return 0
    loaded = {
        line.split(maxsplit=5)[-1].strip() for line in _MAPS.read_text().splitlines() if "libgomp" in line
    }
    shipped = {path for path in loaded if Path(torch.__file__).parent in Path(path).parents}
    found = shipped or loaded  # other packages may have brought runtimes of their own
    if len(found) != 1:
        return 0
    try:
        parallel = ctypes.CDLL(found.pop()).GOMP_parallel
    except (OSError, AttributeError):
        return 0
    return ctypes.cast(parallel, ctypes.c_void_p).value or 0
