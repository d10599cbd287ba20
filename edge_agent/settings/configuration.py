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

from pydantic import Field, FiniteFloat, model_validator

from contracts.configuration import Settings, check_settings, format_path
from contracts.errors import ConfigurationError, Fault
from contracts.identifiers import Identifier
from edge_agent.lines.calibration import Calibration
from edge_agent.lines.listen_configuration import Gb26875BusSettings, Hj212BusSettings
from edge_agent.outputs.actuator import ActuatorSettings
from edge_agent.outputs.output_faults import find_output_faults
from edge_agent.outputs.output_settings import OutputSettings
from edge_agent.settings.profile import ModbusProfile, SerialFrameProfile
from edge_agent.settings.serial_port import SerialPortSettings

ProfileLibrary = Mapping[str, ModbusProfile | SerialFrameProfile]


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


class BrokerSettings(Settings):
    """Where a broker listens."""

    host: str = Field(min_length=1)
    port: Port = 8883


class TlsSettings(Settings):
    """TLS to the broker. Its certificate and its name are always checked; the files are read at each connect."""

    ca_file: str = Field(min_length=1)
    """PEM of the authority that signed the broker's certificate."""
    certificate_file: str | None = None
    """PEM of this gateway's own certificate, with the chain up to the authority that the broker trusts."""
    key_file: str | None = None
    """Its private key: PEM, not encrypted, 0600."""
    server_name: str | None = Field(default=None, min_length=1)
    """The name in the broker's certificate, if it is not the host that is connected to."""
    minimum_version: Literal["1.2", "1.3"] = "1.2"

    @model_validator(mode="after")
    def _check_pair(self) -> TlsSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: give both or neither")
        return self


class MqttSettings(Settings):
    """The broker."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 1883
    standby: tuple[BrokerSettings, ...] = Field(default=(), max_length=8)
    """Further brokers, tried in turn when a connection ends or the primary host is not on this one."""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """`auto`: MQTT 5, and 3.1.1 with a broker that knows no 5."""
    tls: TlsSettings | None = None
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
    """How fast old batches follow behind the live ones, at most."""
    uplink_bytes_per_s: int = Field(default=250_000, ge=100, le=10_000_000_000)
    """What the line to the broker carries (2 Mbit/s by default, a poor mobile uplink)."""
    backlog_share: FiniteFloat = Field(default=0.5, gt=0.0, le=1.0)
    """Of that, the part that old batches may take."""
    memory_readings_max: int = Field(default=50_000, ge=1_000, le=10_000_000)
    """Readings that may wait in memory while the disk refuses; the oldest beyond are discarded and counted."""
    disk_max_bytes: int = Field(default=3 << 29, ge=1 << 20, le=1 << 40)
    """The spool's share of the disk: 72 h at 300 readings/s and 14 bytes a reading are 1.1 GB, and thinning begins at
    90 % (docs/agent-spool.md)."""


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
    actuator: tuple[ActuatorSettings, ...] = ()
    """What of it may be written, by commands of the host and by local outputs."""


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
    framing: Literal["tcp", "rtu", "ascii"] = "tcp"
    """`rtu` and `ascii`: a converter that passes the frames of its serial line through as they are."""
    timeout_s: Seconds = 0.5
    node: tuple[ModbusNodeSettings, ...] = Field(min_length=1)


class _SerialBusSettings(_BusSettings, SerialPortSettings):
    pass


class ModbusRtuBusSettings(_SerialBusSettings):
    """An RS-485 line."""

    kind: Literal["modbus_rtu"]
    framing: Literal["rtu", "ascii"] = "rtu"
    data_bits: Literal[7, 8] = 8
    """7 is usual with ASCII frames, impossible with RTU."""
    timeout_s: Seconds = 0.3
    node: tuple[ModbusNodeSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_data_bits(self) -> ModbusRtuBusSettings:
        if self.framing == "rtu" and self.data_bits == 7:
            raise ValueError("data_bits: 7 cannot carry RTU frames: 8 is allowed, or framing = 'ascii'")
        return self


class SerialFrameBusSettings(_SerialBusSettings):
    """A serial port with one sensor that speaks frames."""

    kind: Literal["serial_frame"]
    timeout_s: Seconds = 0.5
    node: tuple[FrameNodeSettings, ...] = Field(min_length=1, max_length=1)


BusSettings = Annotated[
    ModbusTcpBusSettings | ModbusRtuBusSettings | SerialFrameBusSettings, Field(discriminator="kind")
]
"""A bus whose devices the agent asks."""
AnyBusSettings = Annotated[
    ModbusTcpBusSettings | ModbusRtuBusSettings | SerialFrameBusSettings | Hj212BusSettings | Gb26875BusSettings,
    Field(discriminator="kind"),
]
"""The same, or a bus that listens: its stations call."""


class AuditSettings(Settings):
    """Who switched what, when and why."""

    path: str = Field(default="audit.jsonl", min_length=1)
    max_bytes: int = Field(default=1 << 20, ge=1 << 12, le=1 << 30)
    """A full file becomes `<path>.1`; five of them are kept."""


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
    wanted = _PROTOCOL_OF_KIND.get(str(kind))
    if wanted is not None and profile.protocol != wanted:
        yield Fault(f"{path}.profile", f"{name!r}: speaks {profile.protocol}, but the bus is a {kind}")
    try:
        profile.address_shift(node.get("channel_index"))
    except ValueError as error:
        yield Fault(f"{path}.channel_index", str(error))
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
            yield Fault(f"{path}.quantities" if "quantities" in node else f"{path}.profile", f"{name!r}: {error}")
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


def _report_faults(path: str, given: object, profile: ModbusProfile | SerialFrameProfile) -> Iterator[Fault]:
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
        *_PROTOCOL_OF_KIND,
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
