"""Keep the memory that tensors free, for the next ones: fresh pages cost more than the work done in them.

A step frees and asks again for tens of megabytes of activations. By default glibc gives such blocks back to
the kernel each time and each 4 KiB page faults anew: 2,000 to 9,000 faults a step were measured, half of a
bf16 step.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell this process' allocator not to hand freed blocks back; True if it could be told.

    The setting is for the whole process and stays: its resident memory then never falls below its peak so
    far. Does nothing where the allocator is not glibc's.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Old glibc takes no mmap threshold above 32 MiB.
    mapped = any(mallopt(_MMAP_THRESHOLD, size) for size in (_NEVER, 32 << 20))
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER)) and mapped
