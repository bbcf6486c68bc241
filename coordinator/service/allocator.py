"""How this process gives memory back: not after every chunk.

A chunk passes through three or four buffers of a megabyte. With glibc's defaults most of them come fresh from the
kernel, which clears each page and has it faulted in: that took a third of the processor time of an upload.
"""

from __future__ import annotations

import ctypes

KEPT_BYTES = 16 << 20
"""Free memory at the end of a heap that the process keeps; there are a few heaps, one for each busy thread."""
MAPPED_BYTES = 32 << 20
"""Buffers from this size on, the largest that glibc accepts, are mapped and unmapped by themselves: no chunk is."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> bool:
    """Keep what buffers of chunks leave free for the next ones; for the whole process, from now on.

    Returns:
        Whether the C library can; musl cannot, and works without.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, KEPT_BYTES)) and bool(mallopt(_MMAP_THRESHOLD, MAPPED_BYTES))
