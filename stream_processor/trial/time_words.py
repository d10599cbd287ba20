"""Times and durations as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

NS_PER_S: Final = 1_000_000_000
_DURATIONS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def format_time(time_ns: int) -> str:
    """ISO 8601, UTC, with as many digits as it needs."""
    try:
        whole = datetime.fromtimestamp(time_ns // NS_PER_S, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ns} ns"
    rest = time_ns % NS_PER_S
    return f"{whole:%Y-%m-%dT%H:%M:%S}" + (f".{rest:09d}".rstrip("0") if rest else "") + "Z"


def format_duration(time_ns: int) -> str:
    """In the greatest unit of which there are two."""
    seconds = time_ns / NS_PER_S
    for size, unit in _DURATIONS:
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
