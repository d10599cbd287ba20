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
from typing import Annotated, Any, Final, Literal

from pydantic import Field, FiniteFloat, field_validator

from contracts.configuration import Settings, check_settings, format_path
from contracts.errors import ConfigurationError, Fault
from contracts.identifiers import Identifier
from edge_agent.calibration import Calibration
from edge_agent.profile import ModbusProfile, SerialFrameProfile

ProfileLibrary = Mapping[str, ModbusProfile | SerialFrameProfile]

BAUD_RATES: Final = (1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 115200, 230400, 460800, 921600)

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[FiniteFloat, Field(gt=0.0, le=3600.0)]

_PROTOCOL_OF_KIND: Final = {"modbus_tcp": "modbus", "modbus_rtu": "modbus", "serial_frame": "serial_frame"}


class GatewaySettings(Settings):
    """Who this agent is."""

    gateway_id: Identifier
    """Sparkplug edge node id, and the MQTT client id."""
    district_id: Identifier
    """Sparkplug group id."""
    profile_folder: str | None = None
    """A folder with device profiles of one's own, beside the shipped ones."""


class MqttSettings(Settings):
    """The broker."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 1883
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password_file: str | None = None
    """A file (0600) that holds the password and nothing else."""
    primary_host: Identifier | None = None
    """Publish only while this Sparkplug host is online; without it, always."""
    keepalive_s: int = Field(default=5, ge=1, le=3600)


class SpoolSettings(Settings):
    """What is kept until the far end has stored it."""

    path: str = Field(min_length=1)
    flush_interval_s: FiniteFloat = Field(default=1.0, ge=0.02, le=60.0)
    flush_readings: int = Field(default=200, ge=1, le=10_000)
    """So many readings are committed at once, however young they are."""
    resend_after_s: FiniteFloat = Field(default=10.0, ge=0.1, le=3600.0)
    """Sent and not acknowledged for so long: sent again; each time twice as patient, up to 10 times this."""
    backlog_batches_per_s: FiniteFloat = Field(default=50.0, gt=0.0, le=10_000.0)
    """How fast old batches follow behind the live ones."""
    memory_readings_max: int = Field(default=50_000, ge=1_000, le=10_000_000)
    """Readings that may wait in memory while the disk refuses; the oldest beyond are discarded and counted."""
    disk_max_bytes: int = Field(default=1 << 30, ge=1 << 20, le=1 << 40)


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


class ModbusNodeSettings(NodeSettings):
    """A node behind a Modbus device id; several nodes may share one device."""

    device_id: int = Field(ge=1, le=247)
    channel_index: int | str | None = None
    """Which of the profile's repeated channels: 7, or L1D12."""


class _BusSettings(Settings):
    bus_id: Identifier
    """Sparkplug device id."""
    probe_max_s: FiniteFloat = Field(default=10.0, ge=0.1, le=3600.0)
    """A device that does not answer is tried ever more rarely, but at least this often."""


class ModbusTcpBusSettings(_BusSettings):
    """A Modbus TCP endpoint, possibly a gateway with many device ids behind it."""

    kind: Literal["modbus_tcp"]
    host: str = Field(min_length=1)
    port: Port = 502
    timeout_s: Seconds = 0.5
    node: tuple[ModbusNodeSettings, ...] = Field(min_length=1)


class _SerialBusSettings(_BusSettings):
    port: str = Field(min_length=1)
    """Device path (a relative one is relative to this file); /dev/serial/by-path/… survives replugging."""
    baud_rate: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1

    @field_validator("baud_rate")
    @classmethod
    def _check_baud_rate(cls, baud_rate: int) -> int:
        if baud_rate not in BAUD_RATES:
            raise ValueError(f"not one of {', '.join(map(str, BAUD_RATES))}")
        return baud_rate


class ModbusRtuBusSettings(_SerialBusSettings):
    """An RS-485 line."""

    kind: Literal["modbus_rtu"]
    timeout_s: Seconds = 0.3
    node: tuple[ModbusNodeSettings, ...] = Field(min_length=1)


class SerialFrameBusSettings(_SerialBusSettings):
    """A serial port with one sensor that speaks frames."""

    kind: Literal["serial_frame"]
    timeout_s: Seconds = 0.5
    node: tuple[NodeSettings, ...] = Field(min_length=1, max_length=1)


BusSettings = Annotated[
    ModbusTcpBusSettings | ModbusRtuBusSettings | SerialFrameBusSettings, Field(discriminator="kind")
]


class AgentSettings(Settings):
    """The whole configuration file."""

    gateway: GatewaySettings
    mqtt: MqttSettings
    spool: SpoolSettings
    bus: tuple[BusSettings, ...] = Field(min_length=1)


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
        for node_at, node in _tables(bus, "node"):
            node_path = format_path(("bus", bus_at, "node", node_at))
            yield from _double(f"{node_path}.node_id", node.get("node_id"), seen_nodes)
            yield from _profile_faults(node_path, node, bus.get("kind"), profiles)


def _profile_faults(path: str, node: Mapping[str, Any], kind: object, profiles: ProfileLibrary) -> Iterator[Fault]:
    name = node.get("profile")
    if not isinstance(name, str):
        return
    profile = profiles.get(name)
    if profile is None:
        yield Fault(f"{path}.profile", f"{name!r}: not one of {', '.join(sorted(profiles))}")
        return
    wanted = _PROTOCOL_OF_KIND.get(str(kind))
    if wanted is not None and profile.protocol != wanted:
        yield Fault(f"{path}.profile", f"{name!r}: speaks {profile.protocol}, but the bus is a {kind}")
    try:
        profile.address_shift(node.get("channel_index"))
    except ValueError as error:
        yield Fault(f"{path}.channel_index", str(error))
    yield from _calibration_faults(f"{path}.calibration", node.get("calibration", {}), profile)


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
    for tag in (*_PROTOCOL_OF_KIND, "linear", "polynomial", "steinhart_hart", "vibrating_wire"):
        path = path.replace(f"].{tag}.", "].").removesuffix(f".{tag}")
        path = path.replace(f".{tag}.", ".") if ".calibration." in path else path
    return path
