"""Reads each node once and prints what it says (shell): what a field engineer wants to see after wiring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from contracts.quality import REASONS, Reason, level_of
from contracts.quantity import QUANTITIES
from edge_agent.agent_plan import PolledLinePlan
from edge_agent.channel_table import ChannelTable
from edge_agent.commands.read_logger import read_logger
from edge_agent.drivers import DRIVERS
from edge_agent.errors import LineLostError
from edge_agent.lines.build_poller import BuiltLine, build_line
from edge_agent.lines.device_poll import ModbusRequest, Outcome
from edge_agent.lines.poll_bus import poll_device
from edge_agent.lines.poll_step import conversion_of
from edge_agent.modbus.word_order_table import describe_word_orders
from edge_agent.plan_agent import plan_agent, plan_line_settings
from edge_agent.settings.configuration import (
    AgentSettings,
    ModbusNodeSettings,
    ModbusRtuBusSettings,
    ModbusTcpBusSettings,
    ProfileLibrary,
)
from edge_agent.settings.line_settings import LineSettings
from edge_agent.settings.profile import AnyProfile, ModbusProfile
from edge_agent.waveform.waveform_plan import WaveformDevicePlan


async def read_once(
    settings: AgentSettings, profiles: ProfileLibrary, folder: Path, node_id: str | None
) -> tuple[list[str], bool]:
    """Lines to print, and whether every channel was good.

    Args:
        settings: the configuration; its spool and broker are not touched.
        profiles: all known profiles.
        folder: what relative paths of the configuration are relative to.
        node_id: only this node; None: all.
    """
    channels, outcomes = ChannelTable(), list[Outcome]()
    for plan in plan_agent(settings, profiles, folder).lines:
        if isinstance(plan, PolledLinePlan):
            outcomes += await _read_line(build_line(plan, channels), channels, node_id)
    wanted = [row for row in outcomes if node_id is None or channels[row[0]].node_id == node_id]
    lines = [format_outcome(channels, row) for row in wanted]
    return lines, bool(wanted) and all(reason is Reason.OK for _, _, reason in wanted)


async def read_word_orders(
    settings: AgentSettings, profiles: ProfileLibrary, folder: Path, node_id: str
) -> tuple[list[str], bool]:
    """A node's registers in all four word orders, and whether all of them were read.

    Args:
        settings: the configuration.
        profiles: all known profiles.
        folder: what relative paths of the configuration are relative to.
        node_id: a Modbus node.
    """
    for bus in settings.bus:
        for node in bus.node:
            if node.node_id == node_id and isinstance(bus, ModbusTcpBusSettings | ModbusRtuBusSettings):
                assert isinstance(node, ModbusNodeSettings)
                return await _read_node_registers(plan_line_settings(bus, folder), node, profiles[node.profile])
    return [f"{node_id}: is no Modbus node, so it has no word order"], False


async def _read_node_registers(
    line: LineSettings, node: ModbusNodeSettings, profile: AnyProfile
) -> tuple[list[str], bool]:
    if not isinstance(profile, ModbusProfile):
        return [f"{node.node_id}: the word order of samples stands in its profile"], False
    fitted = profile.fitted(node.measures)
    shift = fitted.address_shift(node.channel_index) + node.address_offset
    driver = DRIVERS[line.kind](line)
    lines, is_whole = [f"{line.bus_id}/{node.node_id}"], True
    try:
        await driver.open()
        for channel in fitted.channel:
            field = channel.field(shift)
            request = ModbusRequest(node.device_id, field.function_code, field.address, field.word_count)
            answer = await driver.exchange(request)
            if isinstance(answer, Reason):
                is_whole = False
                lines.append(f"  {channel.quantity}: {answer.wire_name}: {REASONS[answer].text}")
            else:
                calibrate = conversion_of(node.calibration, channel)
                lines += describe_word_orders(channel, field, [int(word) for word in answer], calibrate)
    except LineLostError as error:
        return [*lines, f"  {error}"], False
    finally:
        driver.close()
    return lines, is_whole


def format_outcome(channels: ChannelTable, outcome: Outcome) -> str:
    """`bus/node  quantity  value unit  quality`, with what to do if it is not good."""
    alias, value, reason = outcome
    channel = channels[alias]
    quantity = QUANTITIES[channel.quantity]
    shown = "—" if value is None else f"{value:.{quantity.decimals}f} {quantity.unit_symbol}".rstrip()
    quality = "good" if reason is Reason.OK else f"{level_of(reason)}: {reason.wire_name}: {REASONS[reason].text}"
    return f"{channel.bus_id}/{channel.node_id}  {channel.quantity}  {shown}  {quality}"


async def _read_line(line: BuiltLine, channels: ChannelTable, node_id: str | None) -> list[Outcome]:
    devices = [
        (plan, device)
        for plan, device in zip(line.plan.devices, line.devices, strict=True)
        if node_id is None or any(channels[alias].node_id == node_id for alias in device.aliases)
    ]
    if not devices:
        return []
    driver = DRIVERS[line.plan.settings.kind](line.plan.settings)
    outcomes: list[Outcome] = []
    try:
        await driver.open()
        for plan, device in devices:
            if isinstance(plan, WaveformDevicePlan):
                outcomes += await read_logger(driver, plan, device)
            else:
                outcomes += await poll_device(driver, device)
    except LineLostError:
        answered = {alias for alias, _, _ in outcomes}
        outcomes += _all_lost([alias for _, device in devices for alias in device.aliases if alias not in answered])
    finally:
        driver.close()
    return outcomes


def _all_lost(aliases: Sequence[int]) -> list[Outcome]:
    return [(alias, None, Reason.LINE_LOST) for alias in aliases]
