"""What is to be read of a Modbus device and what it means, as plain objects: made of profiles, kept by what runs. Pure.

Ten thousand channels of a gateway differ in little but their place: what many share (a `Field`, a `ChannelKind`) is
one object for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from contracts.quality import Reason
from edge_agent.lines.calibration import Calibration, Conversion, build_conversion
from edge_agent.lines.linear_conversion import LinearConversion
from edge_agent.lines.report_filter import ReportRule
from edge_agent.modbus.register_field import Field
from edge_agent.settings.state_rule import StateRule


@dataclass(frozen=True, slots=True)
class RegisterConversion:
    """From a register's number to a value: at most one of match, codes and divisor, then the calibration."""

    match: tuple[int, tuple[int, ...]] | None = None
    """(mask, numbers): 1 where the masked register is one of these numbers, else 0. Nothing follows it."""
    codes: tuple[tuple[int, float], ...] = ()
    """(number, value) of an enumeration."""
    divisor: float = 1.0
    calibration: Calibration | None = None

    def build(self) -> Conversion | None:
        """The function that it is; None: the number is the value."""
        if self.match is not None:
            mask, numbers = self.match
            return lambda raw: float(int(raw) & mask in numbers)
        calibrate = None if self.calibration is None else build_conversion(self.calibration)
        if calibrate is None and not self.codes:
            return None if self.divisor == 1.0 else LinearConversion(divisor=self.divisor)
        if isinstance(calibrate, LinearConversion) and not self.codes:
            return LinearConversion(calibrate.scale, calibrate.offset, self.divisor)
        first = self._build_first()
        return first if calibrate is None else lambda raw: calibrate(first(raw))

    def _build_first(self) -> Conversion:
        if self.codes:
            value_of = dict(self.codes)
            return lambda raw: value_of.get(int(raw), math.nan)
        return LinearConversion(divisor=self.divisor)


@dataclass(frozen=True, slots=True)
class RegisterState:
    """A register whose content says how far values may be trusted."""

    field: Field
    rules: tuple[StateRule, ...]
    """Tried in order; the first that matches gives the reason."""
    reasons: tuple[Reason, ...]
    """One for each rule, and the one that counts if none matches."""

    def reason_of(self, register: int) -> Reason:
        """The reason that the register's content gives."""
        for rule, reason in zip(self.rules, self.reasons, strict=False):
            if rule.is_matched_by(register):
                return reason
        return self.reasons[-1]


@dataclass(frozen=True, slots=True)
class HeartbeatPlan:
    """A register that a live instrument keeps changing."""

    field: Field
    stale_after_s: float
    """Unchanged for longer: the instrument stands still."""


@dataclass(frozen=True, slots=True)
class ChannelKind:
    """What like channels have in common."""

    quantity: str
    low: float
    high: float
    """What both the instrument and the quantity can show, in the quantity's unit."""
    conversion: RegisterConversion | None
    bad_repeat_s: float
    """A channel that stays without a value says so again after this time."""
    report: ReportRule | None
    """None: always reported."""


@dataclass(frozen=True, slots=True)
class ModbusChannelPlan:
    """A channel of a node."""

    node_id: str
    kind: ChannelKind
    field: Field
    states: tuple[RegisterState, ...] = ()
    heartbeat: HeartbeatPlan | None = None
    """The same object for all channels of a node: it is one heart."""

    @property
    def name(self) -> tuple[str, str]:
        """(node_id, quantity)."""
        return self.node_id, self.kind.quantity


@dataclass(frozen=True, slots=True)
class ModbusDevicePlan:
    """All nodes of one device id that are polled together."""

    name: str
    """For the log."""
    device_id: int
    interval_s: float
    model: str
    """Names of the profiles: what one device refuses is known of all of the same model."""
    max_registers: int
    """The most that it answers at once."""
    request_cost: int
    """Of one more request, in registers that are read along instead (register_plan.py)."""
    channels: tuple[ModbusChannelPlan, ...]

    def channel_names(self) -> Iterator[tuple[str, str]]:
        """(node_id, quantity) in the order of the outcomes of a poll."""
        return (channel.name for channel in self.channels)

    def bad_repeats_s(self) -> Iterator[float]:
        """For each channel: a value that stays missing is told again after this time."""
        return (channel.kind.bad_repeat_s for channel in self.channels)

    def reports(self) -> Iterator[ReportRule | None]:
        """For each channel: when its value is worth sending; None: always."""
        return (channel.kind.report for channel in self.channels)
