"""GB/T 26875.3-2011: state bits and analogue types → quantities and quality. Pure; tables.

The bits of figures 6 (system state), 7 (component state) and 13 (transmitter state), each low byte first. Figures 6,
9 and 14 are not legible in the text layer of shared/standards/gbt26875.3-2011.txt; their bits are as in two
independent implementations that quote the standard: the C header `SysStatusBits` (find_string id 21917714103) and the
Python tables `FACILITY_OPERATION_BITS`, `DEVICE_OPERATION_BITS` (id 66676892884), which agree with each other and
with figures 7 and 13.

How far a state may be trusted:

- A fire alarm (bit 1) is never put in doubt by another bit, but for one: what is shielded (bit 3) was switched off by
  a person on purpose, and is `inhibited`.
- Without a fire alarm, a fault or power fault is `device_fault`, and a test state (bit 0 is 0) is `inhibited`: such a
  component cannot say that there is no fire. A state of 0 in all bits is that of senders that do not use bit 0; it is
  told as tested, because nothing in the frame says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from contracts.quality import Reason

NORMAL_BIT: Final = 0
FIRE_BIT: Final = 1
FAULT_BIT: Final = 2
SHIELDED_BIT: Final = 3
POWER_FAULT_BIT: Final = 8

COMPONENT_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "fire_alarm": FIRE_BIT,
        "fault": FAULT_BIT,
        "supervisory_alarm": 4,
        "activation": 5,
        "activation_feedback": 6,
        "mains_failure": POWER_FAULT_BIT,
    }
)
"""Quantity → bit of figure 7. Bit 7 is a delay, which is no condition of its own; bit 8 is any power fault."""
SYSTEM_BITS: Final[Mapping[str, int]] = MappingProxyType({**COMPONENT_BITS, "battery_failure": 9, "loop_failure": 10})
"""Figure 6. Bits 11 to 13 (manual mode, configuration changed, reset) are for people."""
TRANSMITTER_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "fire_alarm": FIRE_BIT,
        "fault": FAULT_BIT,
        "mains_failure": 3,
        "battery_failure": 4,
        "uplink_failure": 5,
        "loop_failure": 6,
    }
)
"""Figure 13: one byte."""

STATE_WORDS: Final = (
    "normal", "fire", "fault", "shielded", "supervised", "started", "feedback", "delay", "mains_fault",
    "battery_fault", "bus_fault", "manual", "configuration_changed", "reset",
)  # fmt: skip
"""Bits 0 to 13 of figures 6 and 7, for people."""
TRANSMITTER_WORDS: Final = (
    "normal", "fire", "fault", "mains_fault", "battery_fault", "uplink_fault", "line_fault",
)  # fmt: skip
SYSTEM_OPERATION_WORDS: Final = (
    "reset", "silenced", "manual_alarm", "alarm_cleared", "self_test", "acknowledged", "test",
)  # fmt: skip
"""Figure 9."""
TRANSMITTER_OPERATION_WORDS: Final = (
    "reset", "silenced", "manual_alarm", "alarm_cleared", "self_test", "duty_answer", "test",
)  # fmt: skip
"""Figure 14."""
MANUAL_ALARM_BIT: Final = 2
ALARM_CLEARED_BIT: Final = 3


@dataclass(frozen=True, slots=True)
class AnalogueType:
    """One row of table 6."""

    title: str
    unit: str
    """As the standard says it."""
    counts_per_unit: float
    """So many counts are one of that unit."""
    low: float
    high: float
    """What is valid, in that unit."""
    quantity: str
    factor: float = 1.0
    """The standard's unit, times this, is the quantity's."""


ANALOGUE_TYPES: Final[Mapping[int, AnalogueType]] = MappingProxyType(
    {
        1: AnalogueType("event count", "1", 1.0, 0.0, 32_000.0, "event_count"),
        2: AnalogueType("height", "m", 100.0, 0.0, 320.0, "level"),
        3: AnalogueType("temperature", "Cel", 10.0, -273.0, 3_200.0, "temperature"),
        4: AnalogueType("pressure", "MPa", 10.0, 0.0, 3_200.0, "pressure", 1000.0),
        5: AnalogueType("pressure", "kPa", 10.0, 0.0, 3_200.0, "pressure"),
        6: AnalogueType("gas concentration", "%{LEL}", 10.0, 0.0, 100.0, "combustible_gas"),
        7: AnalogueType("time", "s", 1.0, 0.0, 32_000.0, "duration"),
        8: AnalogueType("voltage", "V", 10.0, 0.0, 3_200.0, "voltage"),
        9: AnalogueType("current", "A", 10.0, 0.0, 3_200.0, "current"),
        10: AnalogueType("flow", "L/s", 10.0, 0.0, 3_200.0, "water_flow"),
        11: AnalogueType("air flow", "m3/min", 10.0, 0.0, 3_200.0, "flow", 60.0),
        12: AnalogueType("air velocity", "m/s", 1.0, 0.0, 20.0, "wind_speed"),
    }
)

TRANSMITTER_QUANTITIES: Final = tuple(TRANSMITTER_BITS)
SYSTEM_QUANTITIES: Final = tuple(SYSTEM_BITS)
COMPONENT_QUANTITIES: Final = tuple(
    dict.fromkeys((*COMPONENT_BITS, *(row.quantity for row in ANALOGUE_TYPES.values())))
)
"""What a node of each kind may have as a channel."""


def judge_state(state: int, quantity: str, bit: int, *, has_shield: bool) -> tuple[float, Reason]:
    """Value and quality of one condition.

    Args:
        state: all bits.
        quantity: which condition.
        bit: its bit.
        has_shield: whether bit 3 means that the place is shielded (not so for a transmitter).
    """
    value = float(state >> bit & 1)
    if has_shield and state >> SHIELDED_BIT & 1:
        return value, Reason.INHIBITED
    if value or quantity != "fire_alarm":
        return value, Reason.OK
    if state >> FAULT_BIT & 1 or (has_shield and state >> POWER_FAULT_BIT & 1):
        return value, Reason.DEVICE_FAULT
    return value, Reason.OK if state >> NORMAL_BIT & 1 else Reason.INHIBITED


def read_analogue(kind: int, count: int) -> tuple[str, float, Reason] | None:
    """(quantity, value in its unit, quality) of an analogue value; None if the standard does not define its type."""
    row = ANALOGUE_TYPES.get(kind)
    if row is None:
        return None
    number = count / row.counts_per_unit
    reason = Reason.OK if row.low <= number <= row.high else Reason.OUT_OF_RANGE
    return row.quantity, number * row.factor, reason


def words_of(state: int, words: tuple[str, ...]) -> list[str]:
    """The names of the bits that are set."""
    return [word for bit, word in enumerate(words) if state >> bit & 1]
