"""Memory allocation of this process on Linux."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # numbers of glibc's malloc.h
_NEVER = -1
# Messages of RuntimeErrors of torch and its libraries when memory runs out.
_IS_FULL = ("can't allocate memory", "annot allocate memory", "out of memory", "ALLOC_FAILED", "bad alloc")
# Messages under a memory limit of this process; without a limit they would be bugs.
_IS_LIMITED = ("could not create a primitive", "could not create a memory", "could not execute a primitive",
               "can't start new thread")  # fmt: skip


def is_about_memory(error: BaseException) -> bool:
    """Return whether an error is an out-of-memory error, in any of the libraries' wordings."""
    said = str(error)
    if isinstance(error, MemoryError) or any(words in said for words in _IS_FULL):
        return True
    return memory_limit() is not None and any(words in said for words in _IS_LIMITED)


def memory_limit() -> int | None:
    """Return the limit of this process's address space in bytes, set by `ulimit -v`; None without a limit."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415  (not everywhere)

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def keep_freed_memory() -> bool:
    """Keep freed memory for the next tensor instead of returning it to the system.

    By default glibc asks Linux for every large block of memory anew, and Linux zeroes it, page by page. A forward of a
    ResNet-50 on 4 photos of 448 px touched 180,000 such pages, a fifth of its time on a CPU (docs/results.md). The
    process then stays as large as its peak, so long-running programs should not call this.

    Returns:
        Whether it is in effect. C libraries other than glibc do not support it.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
