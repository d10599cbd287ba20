"""How often the same event may stand in the log: whoever can reach a port could else fill the disk. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EVENTS_MAX: Final = 20
PERIOD_S: Final = 60.0


@dataclass(slots=True)
class _Tally:
    begun_s: float
    count: int = 0
    passed_over: int = 0


class NoteLimit:
    """At most `EVENTS_MAX` of each event in `PERIOD_S`; the next one after it says how many were passed over."""

    def __init__(self) -> None:
        self._tallies: dict[str, _Tally] = {}

    def admit(self, event: str, now_s: float) -> int | None:
        """None if the event is to be passed over, else how many of it were since the last one that was not."""
        tally = self._tallies.setdefault(event, _Tally(now_s))
        if now_s - tally.begun_s >= PERIOD_S:
            tally.begun_s, tally.count = now_s, 0
        if tally.count >= EVENTS_MAX:
            tally.passed_over += 1
            return None
        tally.count += 1
        passed_over, tally.passed_over = tally.passed_over, 0
        return passed_over
