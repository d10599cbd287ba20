"""Keeps the process small (shell): one heap for all threads, and back to the system what building has left over.

glibc gives every thread a heap of its own, and keeps what is freed in each (mallopt(3), malloc_trim(3)). The agent's
threads take turns and allocate little, so one heap is enough: 4 MB less with ten thousand channels. Other C libraries
know neither function; then nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import Final

_M_ARENA_MAX: Final = -8
_GC_THRESHOLDS: Final = (50_000, 20, 20)
"""Allocations before the garbage collector looks for cycles (Python's own: 700, 10, 10)."""


def use_one_heap() -> None:
    """For all threads that are begun from now on."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def settle_memory() -> None:
    """Takes all that was built out of the garbage collector's sight: it stays until the end.

    What follows are readings, which reference counting frees: cycles are rare, so looking for them may be rare.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
