"""China standard time, which the sector protocols carry without saying so. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from contracts.observation import NANOSECONDS_PER_MILLISECOND

CHINA_STANDARD_TIME: Final = timezone(timedelta(hours=8), "CST")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def nanoseconds_of(local: datetime) -> int:
    """Nanoseconds since 1970 of a time with its zone."""
    return (local - _EPOCH) // _MICROSECOND * 1000


def china_time(time_ns: int) -> datetime:
    """The time in China, to the millisecond."""
    return _EPOCH.astimezone(CHINA_STANDARD_TIME) + timedelta(milliseconds=time_ns // NANOSECONDS_PER_MILLISECOND)


def format_china_time(time_ns: int) -> str:
    """ISO 8601 with the zone."""
    return china_time(time_ns).isoformat()
