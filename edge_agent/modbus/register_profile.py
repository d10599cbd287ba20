"""Profiles of instruments with Modbus registers.

A profile maps registers to quantities, and the instrument's own state, fault and heartbeat registers to quality
reasons, never to values. Rules of a state are tried in order; the first that matches gives the reason (`ok` stops
the search), else `otherwise` counts. An instrument with many like places (a logger with 16 inputs, a panel with
159 detectors per loop) has `[[repeat]]` blocks: a node names its place by `channel_index`, and all addresses of the
profile are shifted by the block's base and the place's number, except of what is marked as shared by all places.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from contracts.configuration import Settings
from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from edge_agent.modbus.register_field import BIT_FUNCTION_CODES, MAX_REGISTERS, UNSIGNED_TYPES, RegisterType, WordOrder
from edge_agent.modbus.register_field import Field as RegisterField
from edge_agent.settings.profile_head import DeviceProfile, MeasuredChannel
from edge_agent.settings.reason_name import check_reason, reason_named
from edge_agent.settings.state_rule import StateRule

Address = Annotated[int, Field(ge=0, le=0xFFFF)]
FunctionCode = Literal[1, 2, 3, 4]


class _Placed(Settings):
    """Something at an address."""

    function_code: FunctionCode = 3
    """1 coils, 2 discrete inputs, 3 holding registers, 4 input registers."""
    address: Address
    """Protocol address, from 0: register 40103 of a manual is 102."""


class StateRegister(_Placed):
    """A register whose content says how far the values may be trusted."""

    type: Literal["bit", "u16", "u32"] = "u16"
    word_order: WordOrder = WordOrder.ABCD
    is_shared: bool = False
    """One for all repeated places: its address is not shifted."""
    quantities: tuple[str, ...] = ()
    """The quantities that it speaks of; empty: all of the profile."""
    rule: tuple[StateRule, ...] = Field(min_length=1)
    otherwise: str = "ok"

    @model_validator(mode="after")
    def _check(self) -> StateRegister:
        check_reason(self.otherwise)
        _check_type(self.function_code, RegisterType(self.type), None)
        return self

    def field(self, shift: int) -> RegisterField:
        """The place in the register table."""
        return RegisterField(self.function_code, self.address + shift, RegisterType(self.type), self.word_order)

    def is_about(self, quantity: str) -> bool:
        """Whether it speaks of the values of this quantity."""
        return not self.quantities or quantity in self.quantities

    def reason_of(self, register: int) -> Reason:
        """The reason that the register's content gives."""
        for rule in self.rule:
            if rule.is_matched_by(register):
                return reason_named(rule.reason)
        return reason_named(self.otherwise)


class HeartbeatRegister(_Placed):
    """A register, or bits of one, that a live instrument keeps changing."""

    mask: int | None = Field(default=None, ge=1, le=0xFFFF)
    is_shared: bool = False
    """One for all repeated places: its address is not shifted."""
    stale_after_s: FiniteFloat = Field(gt=0.0)
    """Unchanged for longer: the instrument's processor stands still, whatever the other registers say."""

    def field(self, shift: int) -> RegisterField:
        """The place in the register table."""
        return RegisterField(self.function_code, self.address + shift, mask=self.mask)


class TextRegister(_Placed):
    """Characters that say what the instrument is: a name, a gas. Shown to people, never a value."""

    name: str = Field(min_length=1)
    word_count: int = Field(ge=1, le=MAX_REGISTERS)
    word_order: WordOrder = WordOrder.ABCD


class ValueCode(Settings):
    """One row of an enumeration: what a number of the instrument's stands for."""

    equals: tuple[int, ...] = Field(min_length=1)
    value: FiniteFloat
    """In the quantity's unit."""
    text: str = ""
    """The manual's words for it."""


class ValueMatch(Settings):
    """A value that is a decision on bits: 1 where the masked register is one of `equals`, else 0."""

    mask: int = Field(ge=1, le=0xFFFFFFFF)
    equals: tuple[int, ...] = Field(min_length=1)


class RegisterChannel(_Placed, MeasuredChannel):
    """A measured value in registers."""

    type: RegisterType = RegisterType.U16
    word_order: WordOrder = WordOrder.ABCD
    mask: int | None = Field(default=None, ge=1, le=0xFFFFFFFF)
    raw_divisor: FiniteFloat = Field(default=1.0, gt=0.0)
    """The register's number is divided by this before any calibration: 10 for tenths."""
    match: ValueMatch | None = None
    code: tuple[ValueCode, ...] = ()
    """An enumeration; a number that it does not name has no value and is `out_of_range`."""
    choices: tuple[str, ...] = ()
    """The instrument is sold for several quantities, in the units of our table: each node names its own."""

    @model_validator(mode="after")
    def _check_type(self) -> RegisterChannel:
        _check_type(self.function_code, self.type, self.mask)
        if (self.match is not None) + bool(self.code) + (self.raw_divisor != 1.0) > 1:
            raise ValueError("a channel has at most one of match, code and raw_divisor")
        unknown = [name for name in self.choices if name not in QUANTITIES]
        if unknown or (self.choices and self.quantity not in self.choices):
            raise ValueError(f"choices are quantities, with {self.quantity!r} among them; unknown: {unknown}")
        return self

    def field(self, shift: int) -> RegisterField:
        """The place in the register table."""
        return RegisterField(self.function_code, self.address + shift, self.type, self.word_order, self.mask)


class Repeat(Settings):
    """A block of like places: `channel_index` is `<prefix><number>`."""

    prefix: str = ""
    base: Address
    """Added to all addresses, for the place `first`."""
    first: int = 1
    last: int
    stride: int = Field(default=1, ge=1)


class ModbusProfile(DeviceProfile):
    """An instrument with registers."""

    protocol: Literal["modbus"]
    max_registers: int = Field(default=MAX_REGISTERS, ge=1, le=MAX_REGISTERS)
    """The most that it answers at once."""
    max_hole_registers: int | None = Field(default=None, ge=0, le=MAX_REGISTERS)
    """Unwanted registers between two wanted ones that are read along; without it, as many as the line makes cheaper."""
    channel: tuple[RegisterChannel, ...] = Field(min_length=1)
    state: tuple[StateRegister, ...] = ()
    heartbeat: HeartbeatRegister | None = None
    text: tuple[TextRegister, ...] = ()
    repeat: tuple[Repeat, ...] = ()

    def fitted(self, measures: str | None) -> ModbusProfile:
        """The profile of an instrument fitted for one of its choices. Raises ValueError with what is allowed."""
        open_channel = next((channel for channel in self.channel if channel.choices), None)
        if open_channel is None:
            if measures is not None:
                raise ValueError("the profile leaves nothing to choose: leave measures out")
            return self
        if measures not in open_channel.choices:
            given = "is missing" if measures is None else repr(measures)
            raise ValueError(f"{given}: one of {', '.join(open_channel.choices)}")
        channels = tuple(
            channel.model_copy(update={"quantity": measures}) if channel is open_channel else channel
            for channel in self.channel
        )
        return self.model_copy(update={"channel": channels})

    def places(self) -> Iterator[tuple[str, int]]:
        """All places with what is added to addresses there; one without a name where nothing is repeated."""
        if not self.repeat:
            yield "", 0
        for block in self.repeat:
            for number in range(block.first, block.last + 1):
                yield f"{block.prefix}{number}", block.base + (number - block.first) * block.stride

    def address_shift(self, channel_index: int | str | None) -> int:
        """What is added to all addresses for this place. Raises ValueError with what is allowed."""
        if not self.repeat:
            if channel_index is not None:
                raise ValueError("the profile has no repeated channels: leave channel_index out")
            return 0
        if channel_index is None:
            raise ValueError(f"is missing: one of {self._place_names()}")
        for block in self.repeat:
            number = str(channel_index).removeprefix(block.prefix)
            matches = str(channel_index).startswith(block.prefix) and number.isdecimal()
            if matches and block.first <= int(number) <= block.last:
                return block.base + (int(number) - block.first) * block.stride
        raise ValueError(f"{channel_index!r} is not one of {self._place_names()}")

    def _place_names(self) -> str:
        return ", ".join(f"{block.prefix}{block.first}…{block.prefix}{block.last}" for block in self.repeat)


def _check_type(function_code: int, register_type: RegisterType, mask: int | None) -> None:
    """Raises ValueError if the table has no such type."""
    if (function_code in BIT_FUNCTION_CODES) != (register_type is RegisterType.BIT):
        raise ValueError(f"function code {function_code} reads no {register_type.value}: 1, 2 read bits, 3, 4 words")
    if mask is not None and register_type not in UNSIGNED_TYPES:
        raise ValueError(f"a mask takes bits of an unsigned integer, not of {register_type.value}")
