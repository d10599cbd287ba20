"""What the objects of a GB/T 26875.3-2011 data unit say of places: conditions and analogue values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from edge_agent.gb26875.gb26875_channel import (
    ALARM_CLEARED_BIT,
    COMPONENT_BITS,
    MANUAL_ALARM_BIT,
    SYSTEM_BITS,
    TRANSMITTER_BITS,
    judge_state,
    read_analogue,
)
from edge_agent.gb26875.gb26875_data import Content, DataUnit, UnitType

Place = tuple[int, ...]
"""() is the transmitter itself, (type, address) a system, (type, address, component address) a component."""


@dataclass(frozen=True, slots=True)
class PlaceReading:
    """A value of one place."""

    place: Place
    quantity: str
    value: float
    reason: Reason
    time_ns: int | None
    """When it was so, by the sender."""
    text: str = ""
    """What the sender calls the place."""


def read_data_unit(unit: DataUnit) -> list[PlaceReading]:
    """All values of a data unit; none for a type that reports no state."""
    return [reading for one in unit.objects for reading in _read_object(unit.type, one)]


def _read_object(kind: int, one: Mapping[str, Content]) -> Iterator[PlaceReading]:
    match kind:
        case UnitType.SYSTEM_STATE:
            yield from _conditions(one, _system_of(one), SYSTEM_BITS)
        case UnitType.COMPONENT_STATE:
            yield from _conditions(one, _component_of(one), COMPONENT_BITS)
        case UnitType.TRANSMITTER_STATE:
            yield from _conditions(one, (), TRANSMITTER_BITS)
        case UnitType.SYSTEM_OPERATION:
            yield from _operation(one, _system_of(one))
        case UnitType.TRANSMITTER_OPERATION:
            yield from _operation(one, ())
        case UnitType.ANALOGUE_VALUE:
            yield from _analogue(one)
        case _:
            return


def _conditions(one: Mapping[str, Content], place: Place, bits: Mapping[str, int]) -> Iterator[PlaceReading]:
    state = _integer(one, "state")
    for quantity, bit in bits.items():
        value, reason = judge_state(state, quantity, bit, has_shield=bool(place))
        yield PlaceReading(place, quantity, value, reason, _time_of(one), str(one.get("text", "")))


def _operation(one: Mapping[str, Content], place: Place) -> Iterator[PlaceReading]:
    """A person at the panel who raises the alarm by hand, or says that it is over, decides on it."""
    operation = _integer(one, "operation")
    if operation >> MANUAL_ALARM_BIT & 1:
        yield PlaceReading(place, "fire_alarm", 1.0, Reason.OK, _time_of(one))
    elif operation >> ALARM_CLEARED_BIT & 1:
        yield PlaceReading(place, "fire_alarm", 0.0, Reason.OK, _time_of(one))


def _analogue(one: Mapping[str, Content]) -> Iterator[PlaceReading]:
    found = read_analogue(_integer(one, "analogue_type"), _integer(one, "count"))
    if found is None:
        return
    quantity, value, reason = found
    if reason is Reason.OK and not QUANTITIES[quantity].is_plausible(value):
        reason = Reason.OUT_OF_RANGE
    yield PlaceReading(_component_of(one), quantity, value, reason, _time_of(one))


def _system_of(one: Mapping[str, Content]) -> Place:
    return _integer(one, "system_type"), _integer(one, "system_address")


def _component_of(one: Mapping[str, Content]) -> Place:
    return (*_system_of(one), _integer(one, "component_address"))


def _time_of(one: Mapping[str, Content]) -> int | None:
    time_ns = one.get("time_ns")
    return time_ns if isinstance(time_ns, int) else None


def _integer(one: Mapping[str, Content], name: str) -> int:
    content = one[name]
    assert isinstance(content, int)  # by the layout
    return content
