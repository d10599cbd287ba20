"""What happens to the field: leaks and fires (excursions of a quantity) and faults of devices, each with its time.

A gas leak adds to the background: it rises along half a cosine to `peak`, holds, and falls along half a cosine.

    added(t) = peak * (1 - cos(pi * (t - from) / rise)) / 2        from <= t < from + rise

The time at which a set-point is truly crossed follows from that and the background (`find_crossing_ns`): what the
latency from sensor to alarm is measured against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from simulators.noise import NOISE_STEP_NS


class FaultKind(StrEnum):
    """What can be wrong."""

    NO_ANSWER = "no_answer"
    """The device is silent."""
    CRC_ERROR = "crc_error"
    """The answer's checksum is wrong. Serial lines only."""
    MALFORMED = "malformed"
    """The answer is cut short, within a right frame."""
    MODBUS_EXCEPTION = "modbus_exception"
    """The device answers with an exception (`code`, 4 if not said)."""
    OUT_OF_RANGE = "out_of_range"
    """The instrument shows `value`, whatever is true."""
    NOT_A_NUMBER = "not_a_number"
    """The instrument sends an IEEE 754 NaN."""
    FROZEN = "frozen"
    """The device answers, but its values and its heartbeat stand still."""
    WARM_UP = "warm_up"
    INHIBITED = "inhibited"
    CALIBRATION = "calibration"
    DEVICE_FAULT = "device_fault"
    NOT_INSTALLED = "not_installed"
    LINE_LOST = "line_lost"
    """The whole bus: the listener or the port is gone."""


SHOWN_BY_INSTRUMENT: Final = frozenset(
    {
        FaultKind.WARM_UP,
        FaultKind.INHIBITED,
        FaultKind.CALIBRATION,
        FaultKind.DEVICE_FAULT,
        FaultKind.NOT_INSTALLED,
    }
)
"""States that an instrument tells in its registers, if it has any for them."""
WHOLE_DEVICE: Final = (
    FaultKind.NO_ANSWER,
    FaultKind.MODBUS_EXCEPTION,
    FaultKind.MALFORMED,
    FaultKind.CRC_ERROR,
)
"""Faults of the answer: all nodes of the device suffer. The first that is active wins."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a node (or, for `line_lost`, of a bus) within a time."""

    subject_id: str
    """Node or bus."""
    kind: FaultKind
    from_ns: int
    until_ns: int
    value: float | None = None
    code: int | None = None
    quantity: str | None = None
    """The one that it concerns; None for all."""


@dataclass(frozen=True, slots=True)
class Excursion:
    """Something that adds to a quantity for a while."""

    node_id: str
    quantity: str
    peak: float
    from_ns: int
    rise_ns: int
    hold_ns: int
    fall_ns: int

    @property
    def until_ns(self) -> int:
        """When it is over."""
        return self.from_ns + self.rise_ns + self.hold_ns + self.fall_ns

    def added_at(self, time_ns: int) -> float:
        """What it adds at a time."""
        elapsed_ns = time_ns - self.from_ns
        if elapsed_ns < 0 or time_ns >= self.until_ns:
            return 0.0
        if elapsed_ns < self.rise_ns:
            return self.peak * _half_cosine(elapsed_ns / self.rise_ns)
        falling_ns = elapsed_ns - self.rise_ns - self.hold_ns
        return self.peak if falling_ns < 0 else self.peak * (1.0 - _half_cosine(falling_ns / self.fall_ns))


class Scenario:
    """All excursions and faults that were ordered and are not over."""

    def __init__(self) -> None:
        self._excursions: dict[tuple[str, str], list[Excursion]] = {}
        self._faults: dict[str, list[Fault]] = {}

    def add(self, happening: Fault | Excursion, now_ns: int) -> None:
        """Takes one in, and forgets those of the same subject that are over at `now_ns`."""
        if isinstance(happening, Fault):
            faults = self._faults.setdefault(happening.subject_id, [])
            faults[:] = [fault for fault in faults if fault.until_ns > now_ns] + [happening]
        else:
            key = happening.node_id, happening.quantity
            excursions = self._excursions.setdefault(key, [])
            excursions[:] = [one for one in excursions if one.until_ns > now_ns] + [happening]

    def clear(self, subject_id: str) -> int:
        """Ends all faults and excursions of a node or bus; returns how many there were."""
        keys = [key for key in self._excursions if key[0] == subject_id]
        cleared = [*self._faults.pop(subject_id, ())]
        return len(cleared) + sum(len(self._excursions.pop(key)) for key in keys)

    def added_at(self, node_id: str, quantity: str, time_ns: int) -> float:
        """What all excursions of a channel add at a time."""
        excursions = self._excursions.get((node_id, quantity))
        return sum(one.added_at(time_ns) for one in excursions) if excursions else 0.0

    def faults_at(self, subject_id: str, time_ns: int) -> tuple[Fault, ...]:
        """The faults of a node or bus that are active at a time, in the order in which they were ordered."""
        faults = self._faults.get(subject_id)
        if not faults:
            return ()
        return tuple(fault for fault in faults if fault.from_ns <= time_ns < fault.until_ns)

    def active_at(self, time_ns: int) -> Iterable[Fault | Excursion]:
        """All that is going on at a time."""
        for subject_id in self._faults:
            yield from self.faults_at(subject_id, time_ns)
        for excursions in self._excursions.values():
            yield from (one for one in excursions if one.from_ns <= time_ns < one.until_ns)


def find_fault(faults: Iterable[Fault], kind: FaultKind) -> Fault | None:
    """The first fault of a kind, or None."""
    return next((fault for fault in faults if fault.kind is kind), None)


def find_crossing_ns(value_at: Callable[[int], float], set_point: float, from_ns: int, until_ns: int) -> int | None:
    """The first time in `from_ns`..`until_ns` at which the value is at or above the set-point, or None.

    Within each step of the noise the value must not fall and then rise through the set-point again (a leak rises
    all the way); the result is exact to the nanosecond there.
    """
    start_ns = from_ns
    while start_ns < until_ns:
        last_ns = min((start_ns // NOISE_STEP_NS + 1) * NOISE_STEP_NS, until_ns) - 1
        if value_at(start_ns) >= set_point:
            return start_ns
        if value_at(last_ns) >= set_point:
            return _bisect(value_at, set_point, start_ns, last_ns)
        start_ns = last_ns + 1
    return None


def _bisect(value_at: Callable[[int], float], set_point: float, below_ns: int, above_ns: int) -> int:
    while above_ns - below_ns > 1:
        middle_ns = (below_ns + above_ns) // 2
        if value_at(middle_ns) >= set_point:
            above_ns = middle_ns
        else:
            below_ns = middle_ns
    return above_ns


def _half_cosine(ratio: float) -> float:
    return (1.0 - math.cos(math.pi * ratio)) / 2.0
