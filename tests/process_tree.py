"""Processes that a process has started (Linux)."""

from __future__ import annotations

import contextlib
from pathlib import Path


def children_of(pid: int) -> set[int]:
    """Those whose end the process has not seen."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ended just now
            found.update(map(int, (task / "children").read_text().split()))
    return found
