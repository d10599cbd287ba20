"""A node and its profile → the plan of its logger. Pure; planning side only.

What a node can set wrong is found by `find_waveform_faults` when the configuration is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from contracts.quantity import CYCLE_BINS_MAX, QUANTITIES, cycle_quantity
from edge_agent.lines.calibration import Calibration, LinearCalibration
from edge_agent.lines.report_filter import ReportRule
from edge_agent.modbus.register_field import Field, RegisterType
from edge_agent.waveform.sample_ring import register_count
from edge_agent.waveform.waveform_plan import (
    AreaPlan,
    CounterPlan,
    SampleField,
    WaveformChannelPlan,
    WaveformDevicePlan,
)
from edge_agent.waveform.waveform_profile import SampledChannel, WaveformNodeSettings, WaveformProfile
from edge_agent.waveform.window_features import FEATURES

if TYPE_CHECKING:  # it imports this module
    from edge_agent.settings.configuration import ModbusNodeSettings

CYCLES_REPORT: Final = ReportRule(0.0, 60.0)
"""Counts are cumulative: one that has not changed is sent once a minute, unless the node says otherwise."""
_WHOLE_RANGE: Final = {"u16": 1 << 16, "u32": 1 << 32}


def plan_waveform_device(
    node: ModbusNodeSettings, profile: WaveformProfile, report: Mapping[str, ReportRule]
) -> WaveformDevicePlan:
    """The plan of one logger; `report` by quantity."""
    settings = node.waveform or WaveformNodeSettings()
    address_offset = node.address_offset
    counter = profile.counter
    field = Field(
        counter.function_code, counter.address + address_offset, RegisterType(counter.type), counter.word_order
    )
    modulus = _WHOLE_RANGE[counter.type] if counter.modulus is None else counter.modulus
    bins = {cycle_quantity(one.quantity, at): CYCLES_REPORT for one in profile.waveform for at in _BIN_NUMBERS}
    return WaveformDevicePlan(
        name=node.node_id,
        device_id=node.device_id,
        interval_s=node.poll_interval_s,
        sample_rate_hz=profile.sample_rate_hz if settings.sample_rate_hz is None else settings.sample_rate_hz,
        ring_samples=profile.ring.samples,
        max_registers=profile.max_registers,
        counter=CounterPlan(field, modulus, counter.samples_per_count),
        areas=tuple(_plan_areas(profile, address_offset)),
        waveforms=tuple(_plan_channel(node.node_id, one, settings, node.calibration) for one in profile.waveform),
        bad_repeat_s=node.bad_repeat_s,
        stale_after_s=profile.stale_after_s,
        report=tuple((bins | dict(report)).items()),
    )


_BIN_NUMBERS: Final = range(1, CYCLE_BINS_MAX + 1)


def _plan_areas(profile: WaveformProfile, address_offset: int) -> Iterator[AreaPlan]:
    code, width = profile.ring.function_code, profile.ring.registers_per_sample
    if width is None:
        for at, one in enumerate(profile.waveform):
            alone = (SampleField(at, 0, one.type, one.word_order),)
            yield AreaPlan(code, one.address + address_offset, register_count(one.type), alone)
        return
    first = min(one.address for one in profile.waveform)
    fields = tuple(
        SampleField(at, one.address - first, one.type, one.word_order) for at, one in enumerate(profile.waveform)
    )
    yield AreaPlan(code, first + address_offset, width, fields)


def _plan_channel(
    node_id: str, channel: SampledChannel, settings: WaveformNodeSettings, calibration: Mapping[str, Calibration]
) -> WaveformChannelPlan:
    chosen = calibration.get(channel.quantity, channel.calibration) or LinearCalibration(kind="linear")
    assert isinstance(chosen, LinearCalibration)  # checked with the configuration
    quantity = QUANTITIES[channel.quantity]
    low, high = channel.range or (quantity.plausible_min, quantity.plausible_max)
    return WaveformChannelPlan(
        node_id=node_id,
        quantity=channel.quantity,
        scale=chosen.scale,
        offset=chosen.offset,
        low=max(low, quantity.plausible_min),
        high=min(high, quantity.plausible_max),
        sends_samples=settings.samples,
        features=tuple(name for name in FEATURES if name in settings.features),
        cycle_bin_width=settings.cycle_bin_width.get(channel.quantity, 0.0),
        cycle_bins=settings.cycle_bins,
    )


def find_waveform_faults(
    profile: WaveformProfile,
    poll_interval_s: object,
    given: Mapping[str, object],
    calibration: object,
    measures: object,
) -> Iterator[tuple[str, str]]:
    """What of a node does not fit its profile, as (key below the node, what is allowed).

    Args:
        profile: of the logger.
        poll_interval_s: the node's, as it stands in the file.
        given: the node's table `waveform`, as it stands in the file.
        calibration: the node's, likewise.
        measures: the node's, likewise; none is allowed.
    """
    if measures is not None:
        yield "measures", "the profile leaves nothing to choose: leave measures out"
    sampled = [one.quantity for one in profile.waveform]
    rate_hz = given.get("sample_rate_hz", profile.sample_rate_hz)
    if isinstance(poll_interval_s, int | float) and isinstance(rate_hz, int | float) and rate_hz > 0:
        longest_s = profile.ring.samples / rate_hz
        if poll_interval_s > longest_s:
            yield "poll_interval_s", f"{poll_interval_s}: the logger writes over its samples after {longest_s:g} s"
    widths = given.get("cycle_bin_width", {})
    for quantity in widths if isinstance(widths, dict) else ():
        if quantity not in sampled:
            yield f"waveform.cycle_bin_width.{quantity}", f"the profile does not sample it: {', '.join(sampled)}"
    for quantity, one in calibration.items() if isinstance(calibration, dict) else ():
        if quantity not in sampled:
            yield f"calibration.{quantity}", f"the profile does not sample it: {', '.join(sampled)}"
        elif isinstance(one, dict) and one.get("kind") != "linear":
            yield f"calibration.{quantity}", f"{one.get('kind')!r}: samples take a calibration of kind 'linear'"
