"""Instruments as data: what stands in which register, and how an instrument tells its own state.

One TOML file per instrument in `instruments/`, each with the source of its map. Addresses are protocol addresses
(from 0): register 40103 of a manual is address 102 of the holding table, 30011 address 10 of the input table.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from contracts.configuration import Settings, parse_settings
from simulators.scenario import SHOWN_BY_INSTRUMENT, FaultKind
from simulators.sensing_element import Thermistor

Address = Annotated[int, Field(ge=0, le=0xFFFF)]
Word = Annotated[int, Field(ge=0, le=0xFFFF)]
Table = Literal["holding", "input"]

TABLE_OF_FUNCTION: Final[Mapping[int, Table]] = MappingProxyType({3: "holding", 4: "input"})


class WordOrder(StrEnum):
    """How a 32-bit value lies in two registers, by the bytes of its big-endian form."""

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"


class NumberType(StrEnum):
    """Type of a number in registers."""

    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"
    F32 = "f32"

    @property
    def word_count(self) -> int:
        """Registers that it takes."""
        return 1 if self in {NumberType.U16, NumberType.S16} else 2


_PACKERS: Final = {
    NumberType.U16: struct.Struct(">H"),
    NumberType.S16: struct.Struct(">h"),
    NumberType.U32: struct.Struct(">I"),
    NumberType.S32: struct.Struct(">i"),
    NumberType.F32: struct.Struct(">f"),
}
_LIMITS: Final = {
    NumberType.U16: (0, 2**16 - 1),
    NumberType.S16: (-(2**15), 2**15 - 1),
    NumberType.U32: (0, 2**32 - 1),
    NumberType.S32: (-(2**31), 2**31 - 1),
}


def encode_number(value: float, number_type: NumberType, word_order: WordOrder = WordOrder.ABCD) -> bytes:
    """The registers of a number; a whole number is rounded and cut to what its type can hold."""
    if number_type is NumberType.F32:
        raw = _PACKERS[number_type].pack(value)
    else:
        low, high = _LIMITS[number_type]
        raw = _PACKERS[number_type].pack(min(max(round(value), low), high))
    return order_words(raw, word_order)


def order_words(raw: bytes, word_order: WordOrder) -> bytes:
    """Big-endian bytes in the order in which the instrument sends them."""
    if word_order is WordOrder.ABCD:
        return raw
    if word_order is WordOrder.DCBA:
        return raw[::-1]
    if word_order is WordOrder.CDAB:
        return raw[2:] + raw[:2]
    return bytes(raw[at ^ 1] for at in range(len(raw)))


class Span(Settings):
    """Registers that the instrument answers for; a read outside of all spans gets exception 2."""

    table: Table
    first: Address
    last: Address
    fill: Word = 0
    """What stands where no register is described."""


class _Place(Settings):
    name: str
    table: Table = "holding"
    address: Address
    stride: int = Field(default=0, ge=0)
    """Distance to the same register of the next channel; 0: the register belongs to the device."""
    word_order: WordOrder = WordOrder.ABCD


class QuantityRegister(_Place):
    """What is measured."""

    serves: Literal["quantity"]
    type: NumberType
    quantity: str
    resolution: float = Field(default=1.0, gt=0.0)
    """The raw number counts in this: 0.1 Hz."""
    element: Literal["none", "vibrating_wire", "thermistor"] = "none"
    """What turns the physical quantity into what is measured."""
    absent: float = 0.0
    """Raw number of a channel where nothing is installed."""


class ConstantRegister(_Place):
    """A number that never changes."""

    serves: Literal["constant"]
    type: NumberType
    value: float


class DeviceIdRegister(_Place):
    """A type code in the high byte, the device's own address in the low byte."""

    serves: Literal["device_id"]
    type_code: int = Field(ge=0, le=0xFF)


class HeartbeatRegister(_Place):
    """A number that grows by one each period, so that a master sees that the device lives."""

    serves: Literal["heartbeat"]
    period_s: float = Field(gt=0.0)


class StatusRegister(_Place):
    """State, fault code, alarm bits, status character."""

    serves: Literal["status"]
    type: NumberType = NumberType.U16
    quantity: str | None = None
    """Of which quantity it speaks: for `active`, for `alarm_set_points`, and for faults of one quantity."""
    normal: int = 0
    active: int | None = None
    """In place of `normal` while the quantity is 0.5 or more: a detector that sees fire."""
    alarm_set_points: tuple[float, ...] = ()
    """Bit n is set while the quantity is at or above the n-th."""
    when: dict[FaultKind, int] = Field(default_factory=dict)
    """In place of all that, while the fault lasts."""
    set_bits: dict[FaultKind, int] = Field(default_factory=dict)
    """Set beside the rest, while the fault lasts."""
    absent: int = 0


class SampleCounterRegister(_Place):
    """How many samples, or finished blocks, were taken since the device was started; wraps as its type does."""

    serves: Literal["sample_counter"]
    type: Literal[NumberType.U16, NumberType.U32] = NumberType.U32
    sample_rate_hz: float = Field(gt=0.0)
    samples_per_count: int = Field(default=1, ge=1)


class RingRegister(_Place):
    """The newest samples of a quantity: sample k stands in place k modulo `samples`, as wide as its type."""

    serves: Literal["ring"]
    type: NumberType
    quantity: str
    samples: int = Field(ge=1)
    sample_rate_hz: float = Field(gt=0.0)
    samples_per_count: int = Field(default=1, ge=1)
    """If it is `samples`, the ring is one block that is replaced as a whole when it is finished."""
    resolution: float = Field(default=1.0, gt=0.0)
    """The raw number counts in this."""


class TextRegister(_Place):
    """ASCII, two characters a register, padded with zeros."""

    serves: Literal["text"]
    text: str
    word_count: int = Field(ge=1)


Register = Annotated[
    QuantityRegister
    | ConstantRegister
    | DeviceIdRegister
    | HeartbeatRegister
    | StatusRegister
    | SampleCounterRegister
    | RingRegister
    | TextRegister,
    Field(discriminator="serves"),
]


class Instrument(Settings):
    """One model of instrument."""

    title: str
    source: str = Field(min_length=1)
    note: str = ""
    protocol: Literal["modbus", "winsen"]
    channel_count: int = Field(default=1, ge=1)
    """Nodes that one device can carry."""
    thermistor: Thermistor | None = None
    answers_quantity: str | None = None
    """Winsen: what the answer to the read command tells."""
    span: tuple[Span, ...] = ()
    register_map: tuple[Register, ...] = Field(default=(), alias="register")

    @model_validator(mode="after")
    def _check_consistent(self) -> Instrument:
        if self.protocol == "winsen" and self.answers_quantity is None:
            raise ValueError("a winsen instrument needs answers_quantity")
        if self.protocol == "modbus" and not (self.span and self.quantities):
            raise ValueError("a modbus instrument needs a span and a quantity register")
        elements = {row.element for row in self.register_map if isinstance(row, QuantityRegister)}
        if "thermistor" in elements and self.thermistor is None:
            raise ValueError("an element is a thermistor, but its coefficients are missing")
        return self

    @property
    def quantities(self) -> frozenset[str]:
        """What a node of this instrument measures."""
        measured = {row.quantity for row in self.register_map if isinstance(row, QuantityRegister | RingRegister)}
        told = {row.quantity for row in self.register_map if isinstance(row, StatusRegister) and row.active is not None}
        return frozenset(name for name in {*measured, *told, self.answers_quantity} if name is not None)

    def can_show(self, kind: FaultKind, *, is_serial: bool) -> bool:
        """Whether a device of this model, on a serial line or not, has a way to show such a fault."""
        is_modbus = self.protocol == "modbus"
        rows = self.register_map
        types = {row.type for row in rows if isinstance(row, QuantityRegister | RingRegister)}
        told = {kind for row in rows if isinstance(row, StatusRegister) for kind in (*row.when, *row.set_bits)}
        rules = {
            FaultKind.LINE_LOST: False,
            FaultKind.CRC_ERROR: is_serial,
            FaultKind.MODBUS_EXCEPTION: is_modbus,
            FaultKind.OUT_OF_RANGE: bool(types) or not is_modbus,
            FaultKind.NOT_A_NUMBER: NumberType.F32 in types,
            FaultKind.NOT_INSTALLED: self.channel_count > 1,
        }
        return rules.get(kind, kind in told or kind not in SHOWN_BY_INSTRUMENT)


InstrumentLibrary = Mapping[str, Instrument]


def parse_instrument(text: str, source: str) -> Instrument:
    """Parses an instrument's file. Raises ConfigurationError with every fault of it."""
    return parse_settings(Instrument, text, source)
