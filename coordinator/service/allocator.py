"""How this process gives memory back: not after every chunk.

A chunk passes through three or four buffers of a megabyte. With glibc's defaults most of them come fresh from the
kernel, which clears each page and has it faulted in: that took a third of the processor time of an upload.
"""

from __future__ import annotations

import ctypes

KEPT_BYTES = 16 << 20
"""Free memory at the end of the heap that the process keeps."""
MAPPED_BYTES = 32 << 20
"""Buffers from this size on, the largest that glibc accepts, are mapped and unmapped by themselves: no chunk is."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of malloc.h


def keep_freed_memory() -> bool:
    """Keep what buffers of chunks leave free for the next ones; for the whole process, from now on.

    In one heap: a heap for each of gRPC's threads would keep the megabytes that once passed through it, with 64 uploads
    at once a third of the process.

    Returns:
        Whether the C library can; musl cannot, and works without.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, KEPT_BYTES), (_MMAP_THRESHOLD, MAPPED_BYTES))
    taken = [mallopt(*setting) for setting in settings]  # each is worth having without the others
    return all(taken)
