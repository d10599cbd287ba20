"""The highest scores of a channel as incidents: readings that stand near each other are one. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

KEPT: Final = 10
APART_READINGS: Final = 10
"""A high score that comes at most this many readings of its channel after another belongs to the same incident."""
FLOOR: Final = 0.5
"""Lower scores, below 3 sigma, are no incidents."""


@dataclass(slots=True)
class Incident:
    """The highest reading of a stretch of high scores."""

    score: float
    time_ns: int
    value: float
    why: str
    until: int
    """Number of the last reading that belonged to it."""


@dataclass(slots=True)
class Incidents:
    """Those of one channel and detector that have the highest scores."""

    kept: list[Incident] = field(default_factory=list)
    _open: Incident | None = None
    """The last one, if it is kept."""

    def is_wanted(self, score: float, number: int) -> bool:
        """Whether `add` would keep a reading with this score; if not, it may still lengthen the last incident."""
        last = self._open
        if last is not None and number - last.until <= APART_READINGS:
            last.until = number
            return score > last.score
        self._open = None
        return len(self.kept) < KEPT or score > min(each.score for each in self.kept)

    def add(self, found: Incident) -> None:
        """Takes a reading that is wanted: instead of the last incident that goes on, or of the least."""
        if self._open is not None:
            self.kept.remove(self._open)
        elif len(self.kept) == KEPT:
            self.kept.remove(min(self.kept, key=lambda each: each.score))
        self.kept.append(found)
        self._open = found

    def highest(self) -> list[Incident]:
        """Highest first."""
        return sorted(self.kept, key=lambda each: -each.score)
