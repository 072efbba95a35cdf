"""How this process gets memory from Linux."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # numbers of glibc's malloc.h
_NEVER = -1
# What CPUs, GPUs and their libraries say where memory runs out, in RuntimeErrors.
_IS_FULL = ("can't allocate memory", "annot allocate memory", "out of memory", "ALLOC_FAILED", "bad alloc")
# What they say of it under a limit of this process; elsewhere it would be a bug.
_IS_LIMITED = ("could not create a primitive", "could not create a memory", "could not execute a primitive",
               "can't start new thread")  # fmt: skip


def is_about_memory(error: BaseException) -> bool:
    """Return whether an error says, in its own way, that memory ran out."""
    said = str(error)
    if isinstance(error, MemoryError) or any(words in said for words in _IS_FULL):
        return True
    return memory_limit() is not None and any(words in said for words in _IS_LIMITED)


def memory_limit() -> int | None:
    """The bytes of addresses that this process may have, as `ulimit -v` sets them; None without a limit."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415  (not everywhere)

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


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
