"""The agent's configuration: TOML → frozen typed models, with all faults at once.

    [gateway]  who we are                [mqtt]  the broker              [spool]  what is kept until acknowledged
    [[bus]]    a line to devices, by `kind`: modbus_tcp, modbus_rtu, serial_frame
      [[bus.node]]  a device on it, with its profile

Faults that need two places at once (doubles, profiles and what they ask of a node) are looked for in the document
itself, so that they are named even where another part of it is not well-formed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import Field, FiniteFloat, model_validator

from contracts.configuration import Settings, check_settings, format_path
from contracts.errors import ConfigurationError, Fault
from contracts.identifiers import Identifier
from contracts.plain_settings import Limits, plain_settings
from edge_agent.lines.calibration import Calibration
from edge_agent.lines.listen_configuration import Gb26875BusSettings, Hj212BusSettings
from edge_agent.outputs.actuator import ActuatorSettings
from edge_agent.outputs.output_faults import find_output_faults
from edge_agent.outputs.output_settings import OutputSettings
from edge_agent.settings.line_settings import ModbusRtuLineSettings, ModbusTcpLineSettings, SerialFrameLineSettings
from edge_agent.settings.profile import AnyProfile, ModbusProfile, SerialFrameProfile, WaveformProfile
from edge_agent.settings.uplink_settings import AuditSettings, GatewaySettings, MqttSettings, SpoolSettings
from edge_agent.waveform.plan_waveform import find_waveform_faults
from edge_agent.waveform.waveform_profile import WaveformNodeSettings

ProfileLibrary = Mapping[str, AnyProfile]


_MODBUS: Final = ("modbus", "modbus_waveform")
_PROTOCOLS_OF_KIND: Final = {"modbus_tcp": _MODBUS, "modbus_rtu": _MODBUS, "serial_frame": ("serial_frame",)}


class ReportSettings(Settings):
    """Report by exception: which changes of a value are worth sending."""

    deadband: FiniteFloat | None = Field(default=None, ge=0.0)
    """In the quantity's unit: a smaller change is not sent."""
    deadband_percent: FiniteFloat | None = Field(default=None, ge=0.0, le=100.0)
    """The same, of the width of the profile's range (OPC UA part 8, 6.2: PercentDeadband)."""
    max_silence_s: FiniteFloat = Field(default=60.0, ge=1.0, le=86_400.0)
    """An unchanged value is sent again after this time."""

    @model_validator(mode="after")
    def _check_deadband(self) -> ReportSettings:
        if (self.deadband is None) == (self.deadband_percent is None):
            raise ValueError("give exactly one of deadband and deadband_percent")
        return self


class ConfigurationSettings(Settings):
    """How a new version of this file is tried."""

    fall_back_after_s: FiniteFloat = Field(default=600.0, ge=4.0, le=86_400.0)
    """Data that flowed before this version and have stopped for so long: back to the last version that was good."""


class NodeSettings(Settings):
    """A physical sensing device."""

    node_id: Identifier
    profile: str
    poll_interval_s: FiniteFloat = Field(default=1.0, ge=0.01, le=86_400.0)
    """At least 10 ms: a Sparkplug timestamp has whole milliseconds, and two readings must not share one."""
    bad_repeat_s: FiniteFloat = Field(default=10.0, ge=0.1, le=86_400.0)
    """A node that stays bad says so again after this time."""
    calibration: dict[str, Calibration] = Field(default_factory=dict)
    """By quantity; goes before the profile's."""
    report: dict[str, ReportSettings] = Field(default_factory=dict)
    """By quantity; without it every poll is reported."""


class FrameNodeSettings(NodeSettings):
    """A sensor that sends frames."""

    quantities: tuple[str, ...] = ()
    """Those of the profile that this sensor has (a weather transmitter without its hail sensor); empty: all."""


class ModbusNodeSettings(NodeSettings):
    """A node behind a Modbus device id; several nodes may share one device."""

    device_id: int = Field(ge=1, le=247)
    channel_index: int | str | None = None
    """Which of the profile's repeated channels: 7, or L1D12."""
    address_offset: int = Field(default=0, ge=0, le=0xFFFF)
    """Added to all addresses of the profile: where a device's whole register block was moved to when it was set up."""
    measures: str | None = None
    """The quantity that an instrument is fitted for which is sold for several."""
    waveform: WaveformNodeSettings | None = None
    """What is made of its samples, if its profile has waveforms."""
    actuator: tuple[ActuatorSettings, ...] = ()
    """What of it may be written, by commands of the host and by local outputs."""


@plain_settings
class ModbusTcpBusSettings(ModbusTcpLineSettings):
    """A Modbus TCP endpoint with its nodes."""

    node: Annotated[tuple[ModbusNodeSettings, ...], Limits(min_length=1)]


@plain_settings
class ModbusRtuBusSettings(ModbusRtuLineSettings):
    """An RS-485 line with its nodes."""

    node: Annotated[tuple[ModbusNodeSettings, ...], Limits(min_length=1)]


@plain_settings
class SerialFrameBusSettings(SerialFrameLineSettings):
    """A serial port with its one sensor."""

    node: Annotated[tuple[FrameNodeSettings, ...], Limits(min_length=1, max_length=1)]


BusSettings = Annotated[
    ModbusTcpBusSettings | ModbusRtuBusSettings | SerialFrameBusSettings, Field(discriminator="kind")
]
"""A bus whose devices the agent asks."""
AnyBusSettings = Annotated[
    ModbusTcpBusSettings | ModbusRtuBusSettings | SerialFrameBusSettings | Hj212BusSettings | Gb26875BusSettings,
    Field(discriminator="kind"),
]
"""The same, or a bus that listens: its stations call."""


class AgentSettings(Settings):
    """The whole configuration file."""

    gateway: GatewaySettings
    mqtt: MqttSettings
    spool: SpoolSettings
    bus: tuple[AnyBusSettings, ...] = Field(min_length=1)
    output: tuple[OutputSettings, ...] = ()
    audit: AuditSettings = AuditSettings()
    configuration: ConfigurationSettings = ConfigurationSettings()


def parse_configuration(text: str, source: str, profiles: ProfileLibrary) -> AgentSettings:
    """Parses the agent's TOML. Raises ConfigurationError with every fault of it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(source, [Fault("$", f"not TOML: {error}")]) from error
    faults = list(find_cross_faults(document, profiles))
    try:
        settings = check_settings(AgentSettings, document, source)
    except ConfigurationError as error:
        raise ConfigurationError(source, [*_tidy(error.faults), *faults]) from error
    if faults:
        raise ConfigurationError(source, faults)
    return settings


def find_profile_folder(text: str) -> str | None:
    """Which folder of further profiles a configuration names, as far as it can be read at all."""
    try:
        gateway = tomllib.loads(text).get("gateway")
    except tomllib.TOMLDecodeError:
        return None
    folder = gateway.get("profile_folder") if isinstance(gateway, dict) else None
    return folder if isinstance(folder, str) else None


def find_cross_faults(document: Mapping[str, Any], profiles: ProfileLibrary) -> Iterator[Fault]:
    """Doubles, unknown profiles, and nodes that do not bring what their profile asks for."""
    seen_buses: dict[object, str] = {}
    seen_ports: dict[object, str] = {}
    seen_nodes: dict[object, str] = {}
    for bus_at, bus in _tables(document, "bus"):
        path = format_path(("bus", bus_at))
        yield from _double(f"{path}.bus_id", bus.get("bus_id"), seen_buses)
        if "host" not in bus:
            yield from _double(f"{path}.port", bus.get("port"), seen_ports)
        yield from _double(f"{path}.endpoint.port", _endpoint_port(bus.get("endpoint")), seen_ports)
        for node_at, node in _tables(bus, "node"):
            node_path = format_path(("bus", bus_at, "node", node_at))
            yield from _double(f"{node_path}.node_id", node.get("node_id"), seen_nodes)
            yield from _profile_faults(node_path, node, bus.get("kind"), profiles)
    quantities_of = {name: tuple(channel.quantity for channel in profile.channel) for name, profile in profiles.items()}
    yield from find_output_faults(document, quantities_of)


def _endpoint_port(endpoint: object) -> object:
    """What no two endpoints may share: a serial port's path, or a TCP port's number."""
    return endpoint.get("port") if isinstance(endpoint, dict) else None


def _profile_faults(path: str, node: Mapping[str, Any], kind: object, profiles: ProfileLibrary) -> Iterator[Fault]:
    name = node.get("profile")
    if not isinstance(name, str):
        return
    profile = profiles.get(name)
    if profile is None:
        yield Fault(f"{path}.profile", f"{name!r}: not one of {', '.join(sorted(profiles))}")
        return
    wanted = _PROTOCOLS_OF_KIND.get(str(kind))
    if wanted is not None and profile.protocol not in wanted:
        yield Fault(f"{path}.profile", f"{name!r}: speaks {profile.protocol}, but the bus is a {kind}")
    try:
        profile.address_shift(node.get("channel_index"))
    except ValueError as error:
        yield Fault(f"{path}.channel_index", str(error))
    if isinstance(profile, WaveformProfile):
        yield from _waveform_faults(path, node, profile)
        return
    if "waveform" in node:
        yield Fault(f"{path}.waveform", f"{name!r} has no waveforms: leave it out")
    yield from _scalar_faults(path, node, profile)


def _waveform_faults(path: str, node: Mapping[str, Any], profile: WaveformProfile) -> Iterator[Fault]:
    given = node.get("waveform")
    settings = given if isinstance(given, dict) else {}
    faults = find_waveform_faults(
        profile, node.get("poll_interval_s", 1.0), settings, node.get("calibration"), node.get("measures")
    )
    yield from (Fault(f"{path}.{key}", message) for key, message in faults)
    yield from _report_faults(f"{path}.report", node.get("report", {}), profile)


def _scalar_faults(path: str, node: Mapping[str, Any], profile: ModbusProfile | SerialFrameProfile) -> Iterator[Fault]:
    if isinstance(profile, ModbusProfile):
        try:
            profile = profile.fitted(node.get("measures"))
        except ValueError as error:
            yield Fault(f"{path}.measures", str(error))
            return
    else:
        try:
            profile = profile.limited_to(_texts(node.get("quantities")))
        except ValueError as error:
            where = "quantities" if "quantities" in node else "profile"
            yield Fault(f"{path}.{where}", f"{node.get('profile')!r}: {error}")
            return
    yield from _calibration_faults(f"{path}.calibration", node.get("calibration", {}), profile)
    yield from _report_faults(f"{path}.report", node.get("report", {}), profile)


def _texts(given: object) -> list[str]:
    """The texts of a list that was not checked yet."""
    return [one for one in given if isinstance(one, str)] if isinstance(given, list) else []


def _calibration_faults(path: str, given: object, profile: ModbusProfile | SerialFrameProfile) -> Iterator[Fault]:
    if not isinstance(given, dict):
        return
    quantities = [channel.quantity for channel in profile.channel]
    for quantity in given:
        if quantity not in quantities:
            yield Fault(f"{path}.{quantity}", f"the profile does not measure it: {', '.join(quantities)}")
    for channel in profile.channel:
        wanted = channel.required_calibration
        calibration = given.get(channel.quantity)
        kind = calibration.get("kind") if isinstance(calibration, dict) else None
        if wanted is not None and kind != wanted:
            yield Fault(f"{path}.{channel.quantity}", f"the profile needs a calibration of kind {wanted!r} here")


def _report_faults(path: str, given: object, profile: AnyProfile) -> Iterator[Fault]:
    if not isinstance(given, dict):
        return
    ranges = {channel.quantity: channel.range for channel in profile.channel}
    for quantity, report in given.items():
        if quantity not in ranges:
            yield Fault(f"{path}.{quantity}", f"the profile does not measure it: {', '.join(ranges)}")
        elif isinstance(report, dict) and "deadband_percent" in report and ranges[quantity] is None:
            yield Fault(f"{path}.{quantity}.deadband_percent", "the profile gives no range for it: use deadband")


def _double(path: str, key: object, seen: dict[object, str]) -> Iterator[Fault]:
    if not isinstance(key, str | int):
        return
    if key in seen:
        yield Fault(path, f"{key!r}: stands at {seen[key]} already")
    else:
        seen[key] = path


def _tables(parent: Mapping[str, Any], key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    tables = parent.get(key)
    if isinstance(tables, list):
        yield from ((at, table) for at, table in enumerate(tables) if isinstance(table, dict))


def _tidy(faults: list[Fault]) -> list[Fault]:
    """Takes out what only pydantic understands.

    The tags of its unions stand in paths (`$.bus[0].modbus_tcp.port` → `$.bus[0].port`), and a list whose items are
    faulty is said to be too short as well.
    """
    tidied = [Fault(_without_tags(fault.path), fault.message) for fault in faults]
    return [fault for fault in tidied if not any(other.path.startswith(f"{fault.path}[") for other in tidied)]


def _without_tags(path: str) -> str:
    for tag in ("write", "command"):
        path = path.replace(f".on.{tag}", ".on").replace(f".off.{tag}", ".off")
    path = path.replace(".endpoint.tcp", ".endpoint").replace(".endpoint.serial", ".endpoint")
    for tag in (
        *_PROTOCOLS_OF_KIND,
        "hj212",
        "gb26875_3",
        "linear",
        "polynomial",
        "steinhart_hart",
        "vibrating_wire",
        "lookup",
    ):
        path = path.replace(f"].{tag}.", "].").removesuffix(f".{tag}")
        path = path.replace(f".{tag}.", ".") if ".calibration." in path else path
    return path
