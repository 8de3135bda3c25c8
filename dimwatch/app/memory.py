"""How a process of batches keeps its memory."""

from __future__ import annotations

import ctypes
from typing import Final

import pyarrow as pa

_KEPT_MS: Final = 10_000
_MMAP_THRESHOLD: Final = -3, 8 << 20
"""An option of glibc's mallopt and its value: from which size on a block is memory of its own."""
_TRIM_THRESHOLD: Final = -1, 16 << 20
"""How much may be free before some is given back."""


def keep_freed() -> None:
    """Keep what one batch has freed for the next, for ten seconds (Arrow) or up to 16 MiB a thread (everything else).

    By default it goes back at once, and the next batch takes a page fault for every 4 kB of it.
    Does what it can: other platforms have other allocators.
    """
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
        pa.jemalloc_set_decay_ms(_KEPT_MS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            mallopt(option, value)
