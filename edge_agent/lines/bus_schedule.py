"""Which device of a line is polled next, and when. Pure; the clock is passed in.

One master asks one device at a time. Devices that answer are polled on a fixed grid of their own interval: of those
that are due, the one whose deadline (its next turn) is nearest goes first, which loses no deadline on a line that can
carry its load (earliest deadline first, without pre-emption). All begin together, so that the rest of the interval
is one gap.

A device that does not answer costs a time-out, so it is only probed in a gap that is long enough, ever more rarely.
Where no such gap comes, a probe is forced, and for a long time no other: the dead take at most `SILENT_SHARE` of the
line, those that were never asked yet `UNASKED_SHARE`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PROMPT_PROBES: Final = 2
"""So many silent polls in a row are followed by a probe after the normal interval: a lost answer is no dead device."""
JITTER_RATIO: Final = 0.2
"""A probe's wait is shortened by up to this, so that dead devices do not come in step."""
SILENT_SHARE: Final = 0.05
UNASKED_SHARE: Final = 0.5
PATIENCE_INTERVALS: Final = 2.0
"""Turns of the most frequent living device for which a probe waits for a gap before it is forced."""


@dataclass(frozen=True, slots=True)
class DeviceRhythm:
    """What a device asks of the line."""

    interval_s: float
    """Between two polls while it answers."""
    probe_max_s: float
    """The longest time between two probes while it does not."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the line does next."""

    device: int | None
    """Which one to poll, by its place in the list; None: leave the line alone until `until_s`, then ask again."""
    until_s: float


@dataclass(slots=True)
class _Slot:
    rhythm: DeviceRhythm
    due_s: float
    is_asked: bool = False
    silent_polls: int = 0
    probe_cost_s: float = 0.0
    """How long a poll of it takes when nothing answers."""

    @property
    def is_alive(self) -> bool:
        return self.is_asked and self.silent_polls == 0


class BusSchedule:
    """The turns of one line."""

    def __init__(self, rhythms: Sequence[DeviceRhythm], start_s: float, silence_s: float) -> None:
        """All are due at once, and none was asked yet.

        Args:
            rhythms: one per device.
            start_s: when the line begins.
            silence_s: how long an exchange takes that is not answered, until it was measured.
        """
        self._slots = [_Slot(rhythm, start_s, probe_cost_s=silence_s) for rhythm in rhythms]
        self._resting: list[tuple[float, int]] = []
        """Living devices by when they are due."""
        self._ready: list[tuple[float, int]] = []
        """Living devices that are due, by deadline."""
        self._silent = [(start_s, at) for at in range(len(rhythms))]
        """The others by when their probe is due."""
        self._forced_from_s = {True: -math.inf, False: -math.inf}
        """When the next probe may be forced, of devices that were asked before, and of those that were not."""

    def silent_polls(self, device: int) -> int:
        """Polls in a row without an answer."""
        return self._slots[device].silent_polls

    def due_s(self, device: int) -> float:
        """When the device is polled or probed next, if the line is free then."""
        return self._slots[device].due_s

    def next_turn(self, now_s: float) -> Turn:
        """What to do now; nothing changes until `note` tells what came of it."""
        while self._resting and self._resting[0][0] <= now_s:
            due_s, at = heapq.heappop(self._resting)
            heapq.heappush(self._ready, (due_s + self._slots[at].rhythm.interval_s, at))
        release_s = self._resting[0][0] if self._resting else math.inf
        probe = self._due_probe(now_s, release_s)
        if probe is not None:
            return Turn(probe, now_s)
        if self._ready:
            return Turn(self._ready[0][1], now_s)
        return Turn(None, self._idle_until_s(now_s, release_s))

    def note(self, device: int, begun_s: float, ended_s: float, is_answered: bool, fraction: float = 0.0) -> None:
        """What came of a turn.

        Args:
            device: the one that was polled.
            begun_s: when its poll began.
            ended_s: when it ended.
            is_answered: whether anything was heard of it.
            fraction: random, 0 to 1, for the jitter of probes.
        """
        slot = self._slots[device]
        self._remove(device, slot)
        if is_answered:
            slot.silent_polls = 0
            missed = max(0, math.ceil((ended_s - slot.due_s) / slot.rhythm.interval_s) - 1)
            slot.due_s = slot.due_s + (missed + 1) * slot.rhythm.interval_s
            heapq.heappush(self._resting, (slot.due_s, device))
        else:
            self._note_silence(slot, ended_s - begun_s, ended_s, fraction)
            heapq.heappush(self._silent, (slot.due_s, device))
        slot.is_asked = True

    def _note_silence(self, slot: _Slot, cost_s: float, ended_s: float, fraction: float) -> None:
        share = SILENT_SHARE if slot.is_asked else UNASKED_SHARE
        self._forced_from_s[slot.is_asked] = ended_s + cost_s * (1.0 - share) / share
        slot.probe_cost_s = cost_s
        slot.silent_polls += 1
        doublings = min(max(slot.silent_polls - PROMPT_PROBES, 0), 30)
        longest_s = max(slot.rhythm.probe_max_s, slot.rhythm.interval_s)
        wait_s = min(slot.rhythm.interval_s * 2.0**doublings, longest_s)
        slot.due_s = ended_s + wait_s * (1.0 - JITTER_RATIO * fraction * bool(doublings))

    def _due_probe(self, now_s: float, release_s: float) -> int | None:
        """The silent device that is to be probed now, if the living can spare the time."""
        if not self._silent or self._silent[0][0] > now_s:
            return None
        due_s, at = self._silent[0]
        slot = self._slots[at]
        fits = not self._ready and now_s + slot.probe_cost_s <= release_s
        is_overdue = now_s - due_s >= self._patience_s() and now_s >= self._forced_from_s[slot.is_asked]
        return at if fits or is_overdue else None

    def _idle_until_s(self, now_s: float, release_s: float) -> float:
        """No living device is due: until one is, or until a probe is due that then fits before it."""
        if not self._silent:
            return release_s
        due_s, at = self._silent[0]
        start_s = max(due_s, now_s)
        if start_s + self._slots[at].probe_cost_s <= release_s:
            return start_s
        forced_s = max(due_s + self._patience_s(), self._forced_from_s[self._slots[at].is_asked], now_s)
        return min(release_s, forced_s)

    def _patience_s(self) -> float:
        living = [self._slots[at].rhythm.interval_s for _, at in (*self._resting, *self._ready)]
        return PATIENCE_INTERVALS * min(living, default=0.0)

    def _remove(self, device: int, slot: _Slot) -> None:
        """Takes a device that had its turn out of the heap that it stands in: nearly always at its head."""
        heap = self._ready if slot.is_alive else self._silent
        if heap and heap[0][1] == device:
            heapq.heappop(heap)
            return
        for rows in (self._ready, self._resting, self._silent):
            kept = [row for row in rows if row[1] != device]
            if len(kept) != len(rows):
                rows[:] = kept
                heapq.heapify(rows)
