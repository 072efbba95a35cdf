"""How this process gets memory from Linux."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # numbers of glibc's malloc.h
_NEVER = -1


def keep_freed_memory() -> bool:
    """Keeps what is freed for the next tensor instead of giving it back to the system.

    By default glibc asks Linux for every large piece of memory anew, and Linux fills it with zeros, page by page. A
    forward of a ResNet-50 on 4 photos of 448 px met 180,000 such pages, a fifth of its time on a CPU
    (docs/results.md). The process then stays as large as it once was, so what runs for weeks should not ask for this.

    Returns:
        Whether it is so from now on. Other C libraries than glibc know no such thing.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
