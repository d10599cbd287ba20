"""Modbus nodes and their profiles → what is to be read (`modbus_device_plan`). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from contracts.quality import Reason
from edge_agent.lines.calibration import Calibration, Conversion
from edge_agent.lines.poll_step import bounds_of
from edge_agent.modbus.modbus_device_plan import (
    ChannelKind,
    HeartbeatPlan,
    ModbusChannelPlan,
    ModbusDevicePlan,
    RegisterConversion,
    RegisterState,
)
from edge_agent.modbus.register_profile import ModbusProfile, RegisterChannel, StateRegister
from edge_agent.settings.configuration import ModbusNodeSettings
from edge_agent.settings.plan_report import plan_report
from edge_agent.settings.reason_name import reason_named

T = TypeVar("T")

_AS_IT_IS: Final = RegisterConversion()


class ModbusPlanner:
    """Plans devices; what their channels have in common becomes one object, however many there are."""

    def __init__(self) -> None:
        self._known: dict[object, object] = {}

    def plan_device(
        self, device_id: int, nodes: Sequence[tuple[ModbusNodeSettings, ModbusProfile]], request_cost: int
    ) -> ModbusDevicePlan:
        """A device with nodes that share a device id and an interval.

        Args:
            device_id: the Modbus device.
            nodes: settings of each, and its profile, fitted for what it measures.
            request_cost: of this line, in registers; a profile's own goes before.
        """
        holes = [profile.max_hole_registers for _, profile in nodes if profile.max_hole_registers is not None]
        first, _ = nodes[0]
        return ModbusDevicePlan(
            name=first.node_id if len(nodes) == 1 else f"device_id-{device_id}",
            device_id=device_id,
            interval_s=first.poll_interval_s,
            model="+".join(sorted({settings.profile for settings, _ in nodes})),
            max_registers=min(profile.max_registers for _, profile in nodes),
            request_cost=min(holes, default=request_cost),
            channels=tuple(channel for node in nodes for channel in self._plan_node(*node)),
        )

    def _plan_node(self, settings: ModbusNodeSettings, profile: ModbusProfile) -> list[ModbusChannelPlan]:
        offset = settings.address_offset
        shift = offset + profile.address_shift(settings.channel_index)
        heartbeat = None
        if profile.heartbeat is not None:
            beat = profile.heartbeat.field(offset if profile.heartbeat.is_shared else shift)
            heartbeat = HeartbeatPlan(beat, profile.heartbeat.stale_after_s)
        return [
            ModbusChannelPlan(
                settings.node_id,
                self._same(self._plan_kind(settings, channel)),
                self._same(channel.field(shift)),
                tuple(
                    self._same(plan_state(state, offset if state.is_shared else shift))
                    for state in profile.state
                    if state.is_about(channel.quantity)
                ),
                heartbeat,
            )
            for channel in profile.channel
        ]

    def _plan_kind(self, settings: ModbusNodeSettings, channel: RegisterChannel) -> ChannelKind:
        low, high = bounds_of(channel)
        calibration = settings.calibration.get(channel.quantity, channel.calibration)
        report = settings.report.get(channel.quantity)
        return ChannelKind(
            quantity=channel.quantity,
            low=low,
            high=high,
            conversion=plan_conversion(channel, calibration),
            bad_repeat_s=settings.bad_repeat_s,
            report=None if report is None else plan_report(report, channel.range),
        )

    def _same(self, one: T) -> T:
        """The first object that is equal to this one."""
        return self._known.setdefault(one, one)  # type: ignore[return-value]  # equal dataclasses are of one class


def plan_conversion(channel: RegisterChannel, calibration: Calibration | None) -> RegisterConversion | None:
    """From a channel's register to its value; None: the number is the value."""
    if channel.match is not None:
        return RegisterConversion(match=(channel.match.mask, channel.match.equals))
    codes = tuple((number, code.value) for code in channel.code for number in code.equals)
    conversion = RegisterConversion(codes=codes, divisor=channel.raw_divisor, calibration=calibration)
    return None if conversion == _AS_IT_IS else conversion


def register_conversion(channel: RegisterChannel, calibrate: Conversion | None) -> Conversion | None:
    """From a channel's register to its value with another calibration than its own, for tables that people read."""
    planned = plan_conversion(channel, None)
    first = None if planned is None else planned.build()
    if first is None or calibrate is None or channel.match is not None:
        return first if channel.match is not None else first or calibrate
    return lambda raw: calibrate(first(raw))


def plan_state(state: StateRegister, shift: int) -> RegisterState:
    """A state register at its place."""
    names = (*(rule.reason for rule in state.rule), state.otherwise)
    reasons: tuple[Reason, ...] = tuple(reason_named(name) for name in names)
    return RegisterState(state.field(shift), state.rule, reasons)
