"""Actuators: channels of a Modbus node that take commands, declared one by one. Pure.

    register value = (value - offset) / scale, rounded to a whole number for integer types

Nothing that is not declared can be written, and no value outside of `minimum` to `maximum`.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from contracts.identifiers import Identifier, format_metric_name
from contracts.plain_settings import Limits, plain_settings
from edge_agent.modbus.modbus_write import (
    WRITE_MULTIPLE_COILS,
    WRITE_MULTIPLE_REGISTERS,
    WRITE_SINGLE_COIL,
    WRITE_SINGLE_REGISTER,
    ModbusWrite,
)

DataTypeName = Literal["coil", "u16", "i16", "u32", "i32", "f32"]

_FORMATS: Final = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f"}
_TYPES_OF: Final = {
    WRITE_SINGLE_COIL: ("coil",),
    WRITE_MULTIPLE_COILS: ("coil",),
    WRITE_SINGLE_REGISTER: ("u16", "i16"),
    WRITE_MULTIPLE_REGISTERS: ("u16", "i16", "u32", "i32", "f32"),
}
"""By function code."""


@plain_settings
class ActuatorSettings:
    """A coil or register that a command may set."""

    name: Identifier
    """Its metric is `<node_id>/<name>`."""
    function_code: Literal[5, 6, 15, 16]
    address: Annotated[int, Limits(ge=0, le=65_535)]
    """As it goes over the wire, from 0."""
    data_type: DataTypeName
    word_order: Literal["high_first", "low_first"] = "high_first"
    """Of 32-bit types."""
    scale: float = 1.0
    offset: float = 0.0
    minimum: float
    maximum: float
    """What may be commanded, in the channel's unit; a coil takes 0 and 1."""

    def __post_init__(self) -> None:
        allowed = _TYPES_OF[self.function_code]
        if self.data_type not in allowed:
            raise ValueError(f"function code {self.function_code} writes {' or '.join(allowed)}, not {self.data_type}")
        if self.scale == 0.0:
            raise ValueError("a scale of 0 leaves nothing to write")
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        for limit in (self.minimum, self.maximum):
            encode_value(self, limit)


@dataclass(frozen=True, slots=True)
class Actuator:
    """An actuator where it is."""

    bus_id: str
    node_id: str
    device_id: int
    settings: ActuatorSettings

    @property
    def metric_name(self) -> str:
        """`<node_id>/<name>`."""
        return format_metric_name(self.node_id, self.settings.name)

    def plan_write(self, value: float) -> ModbusWrite:
        """The request that sets it. Raises ValueError if the value may not be commanded."""
        settings = self.settings
        if not settings.minimum <= value <= settings.maximum:
            raise ValueError(f"{value:g} is not within {settings.minimum:g} to {settings.maximum:g}")
        values = encode_value(settings, value)
        return ModbusWrite(self.device_id, settings.function_code, settings.address, values)


def encode_value(settings: ActuatorSettings, value: float) -> tuple[int, ...]:
    """What goes into the coil or the registers. Raises ValueError if the type cannot hold it."""
    raw = (value - settings.offset) / settings.scale
    if settings.data_type == "coil":
        if raw not in (0.0, 1.0):
            raise ValueError(f"{value:g}: a coil is 0 or 1")
        return (int(raw),)
    number: float | int = raw if settings.data_type == "f32" else round(raw)
    try:
        octets = struct.pack(_FORMATS[settings.data_type], number)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{value:g}: does not fit into {settings.data_type}") from error
    words = struct.unpack(f">{math.ceil(len(octets) / 2)}H", octets)
    return words if settings.word_order == "high_first" else words[::-1]
