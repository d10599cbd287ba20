"""Device profiles: what an instrument measures and where, as data files with their source.

A profile maps measured places to quantities, and the instrument's own state, fault and heartbeat registers to
quality reasons, never to values. Two protocols: `modbus` (registers) and `serial_frame` (declared frames).

Rules of a state are tried in order; the first that matches gives the reason (`ok` stops the search), else
`otherwise` counts. An instrument with many like places (a logger with 16 inputs, a panel with 159 detectors per
loop) has `[[repeat]]` blocks: a node names its place by `channel_index`, and all addresses of the profile are
shifted by the block's base and the place's number.
"""

from __future__ import annotations

import tomllib
from typing import Annotated, Final, Literal

from pydantic import Field, FiniteFloat, model_validator

from contracts.configuration import Settings, check_settings
from contracts.errors import ConfigurationError, Fault
from contracts.quality import Reason, parse_reason
from contracts.quantity import QUANTITIES
from edge_agent.calibration import Calibration
from edge_agent.frame_parser import HEX_BYTES, FrameField, FrameFormat, field_end
from edge_agent.register_plan import MAX_REGISTERS, RegisterType, WordOrder

Address = Annotated[int, Field(ge=0, le=0xFFFF)]
FunctionCode = Literal[3, 4]
Bounds = tuple[FiniteFloat, FiniteFloat]
CalibrationKind = Literal["linear", "polynomial", "steinhart_hart", "vibrating_wire"]

REASON_NAMES: Final = frozenset(reason.wire_name for reason in Reason)


class StateRule(Settings):
    """One row of a state register's table."""

    mask: int = Field(default=0xFFFF, ge=1, le=0xFFFFFFFF)
    equals: tuple[int, ...] = ()
    """Matches if the masked register is one of these."""
    minimum: int | None = None
    """Matches if the masked register is at least this."""
    any_bit: bool = False
    """Matches if any bit under the mask is set."""
    reason: str

    @model_validator(mode="after")
    def _check(self) -> StateRule:
        if bool(self.equals) + (self.minimum is not None) + self.any_bit != 1:
            raise ValueError("a rule has exactly one of equals, minimum and any_bit")
        _check_reason(self.reason)
        return self

    def is_matched_by(self, register: int) -> bool:
        """Whether the rule applies to what the register holds."""
        masked = register & self.mask
        if self.any_bit:
            return masked != 0
        return masked >= self.minimum if self.minimum is not None else masked in self.equals


class StateRegister(Settings):
    """A register whose content says how far the values may be trusted."""

    function_code: FunctionCode = 3
    address: Address
    type: Literal["u16", "u32"] = "u16"
    quantities: tuple[str, ...] = ()
    """The quantities that it speaks of; empty: all of the profile."""
    rule: tuple[StateRule, ...] = Field(min_length=1)
    otherwise: str = "ok"

    @model_validator(mode="after")
    def _check(self) -> StateRegister:
        _check_reason(self.otherwise)
        return self

    def reason_of(self, register: int) -> Reason:
        """The reason that the register's content gives."""
        for rule in self.rule:
            if rule.is_matched_by(register):
                return _reason(rule.reason)
        return _reason(self.otherwise)


class HeartbeatRegister(Settings):
    """A register that a live instrument keeps changing."""

    function_code: FunctionCode = 3
    address: Address
    stale_after_s: FiniteFloat = Field(gt=0.0)
    """Unchanged for longer: the instrument's processor stands still, whatever the other registers say."""


class ValueMatch(Settings):
    """A value that is a decision on bits: 1 where the masked register is one of `equals`, else 0."""

    mask: int = Field(ge=1, le=0xFFFFFFFF)
    equals: tuple[int, ...] = Field(min_length=1)


class _Channel(Settings):
    quantity: str
    range: Bounds | None = None
    """What the instrument can measure, in the quantity's unit; outside of it the value is `out_of_range`."""
    calibration: Calibration | None = None
    """Of every instrument of this kind; a node's own calibration goes before."""
    required_calibration: CalibrationKind | None = None
    """Every node must bring its own calibration of this kind."""

    @model_validator(mode="after")
    def _check_quantity(self) -> _Channel:
        if self.quantity not in QUANTITIES:
            raise ValueError(f"quantity {self.quantity!r} is not one of {', '.join(QUANTITIES)}")
        return self


class RegisterChannel(_Channel):
    """A measured value in registers."""

    function_code: FunctionCode = 3
    address: Address
    type: RegisterType = RegisterType.U16
    word_order: WordOrder = WordOrder.ABCD
    mask: int | None = Field(default=None, ge=1, le=0xFFFFFFFF)
    raw_divisor: FiniteFloat = Field(default=1.0, gt=0.0)
    """The register's number is divided by this before any calibration: 10 for tenths."""
    match: ValueMatch | None = None


class Repeat(Settings):
    """A block of like places: `channel_index` is `<prefix><number>`."""

    prefix: str = ""
    base: Address
    """Added to all addresses, for the place `first`."""
    first: int = 1
    last: int
    stride: int = Field(default=1, ge=1)


class _Profile(Settings):
    title: str
    source: str = Field(min_length=10)
    """Where the map is from: manual, page, address."""
    note: str = ""


class ModbusProfile(_Profile):
    """An instrument with registers."""

    protocol: Literal["modbus"]
    max_registers: int = Field(default=MAX_REGISTERS, ge=1, le=MAX_REGISTERS)
    """The most that it answers at once."""
    max_hole_registers: int = Field(default=8, ge=0, le=MAX_REGISTERS)
    channel: tuple[RegisterChannel, ...] = Field(min_length=1)
    state: tuple[StateRegister, ...] = ()
    heartbeat: HeartbeatRegister | None = None
    repeat: tuple[Repeat, ...] = ()

    def address_shift(self, channel_index: int | str | None) -> int:
        """What is added to all addresses for this place. Raises ValueError with what is allowed."""
        if not self.repeat:
            if channel_index is not None:
                raise ValueError("the profile has no repeated channels: leave channel_index out")
            return 0
        if channel_index is None:
            raise ValueError(f"is missing: one of {self._places()}")
        for block in self.repeat:
            number = str(channel_index).removeprefix(block.prefix)
            matches = str(channel_index).startswith(block.prefix) and number.isdecimal()
            if matches and block.first <= int(number) <= block.last:
                return block.base + (int(number) - block.first) * block.stride
        raise ValueError(f"{channel_index!r} is not one of {self._places()}")

    def _places(self) -> str:
        return ", ".join(f"{block.prefix}{block.first}…{block.prefix}{block.last}" for block in self.repeat)


class FrameChannel(_Channel):
    """A measured value in a frame."""

    field: FrameField


class SerialFrameProfile(_Profile):
    """An instrument that answers a question with a frame."""

    protocol: Literal["serial_frame"]
    question_hex: str = Field(pattern=HEX_BYTES)
    frame: FrameFormat
    channel: tuple[FrameChannel, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_fields(self) -> SerialFrameProfile:
        for channel in self.channel:
            if field_end(channel.field) > self.frame.length:
                raise ValueError(f"{channel.quantity} ends after the {self.frame.length} bytes of the frame")
        return self

    def address_shift(self, channel_index: int | str | None) -> int:
        """Raises ValueError: a frame has no repeated channels."""
        if channel_index is not None:
            raise ValueError("the profile has no repeated channels: leave channel_index out")
        return 0


Profile = Annotated[ModbusProfile | SerialFrameProfile, Field(discriminator="protocol")]


class _ProfileFile(Settings):
    profile: Profile


def parse_profile(text: str, source: str) -> ModbusProfile | SerialFrameProfile:
    """Parses a profile file. Raises ConfigurationError with every fault."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(source, [Fault("$", f"not TOML: {error}")]) from error
    return check_settings(_ProfileFile, {"profile": document}, source).profile


def _check_reason(name: str) -> None:
    if name not in REASON_NAMES:
        raise ValueError(f"reason {name!r} is not one of {', '.join(sorted(REASON_NAMES))}")


def _reason(name: str) -> Reason:
    reason = parse_reason(name)
    assert reason is not None  # checked when the profile was read
    return reason
