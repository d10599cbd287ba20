"""The demonstration city, Canghai: what stands where, what it measures, when it alarms, and what happens there. Pure.

Canghai does not exist; its coordinates lie in the open East China Sea, so that nobody's bridge or gas station
is drawn on a map. Two gateways carry 203 sensing devices:

    gw-harbour     gas-tcp       70 methane detectors at two gas stations and a chemical plant
                   tanks-tcp     20 tank gauges of a tank farm
    gw-riverside   bridge-rs485  48 strain gauges on 3 loggers and 4 thermistors, on two bridges
                   fire-tcp      60 fire detectors of a market hall behind one panel
                   co2-uart      1 carbon-dioxide sensor of a school

Set-points of methane are chosen within GB/T 50493-2019 (first level at most 25 %LEL, second at most 50 %LEL).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from simulators.noise import make_key, uniform
from simulators.toml_text import Toml, format_toml

Table = dict[str, Toml]

GAS_SITES: Final = (
    # site, name, domain, latitude, longitude, number of detectors
    ("gas-quayside", "Quayside LNG station", "gas", 30.3962, 124.1187, 24),
    ("gas-pier", "Pier Road gas station", "gas", 30.4041, 124.1052, 20),
    ("gas-saltworks", "Saltworks chemical plant", "chemical", 30.3874, 124.1301, 26),
)
TANK_SITE: Final = ("tank-east", "East Basin tank farm", "chemical", 30.3918, 124.1409, 20)
BRIDGES: Final = (
    # site, name, latitude, longitude, logger device ids, thermistor device ids
    ("heron", "Heron Bridge", 30.4217, 124.0834, (1, 2), (11, 12)),
    ("mill", "Mill Bridge", 30.4289, 124.0688, (3,), (13, 14)),
)
FIRE_SITE: Final = ("fire-market", "Weir Street market hall", "fire", 30.4178, 124.0761, 60)
SCHOOL_SITE: Final = ("school-willow", "Willow Bank school", "building", 30.4243, 124.0779)

GAUGE_FACTOR: Final = 4.062
_GAUGES_PER_LOGGER: Final = 16
_TANK_HEIGHT_M: Final = 14.0
_SPREAD_DEGREES: Final = 0.0008
"""Detectors of a site stand within some 90 m of each other."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the supervisor decides."""

    broker_host: str = "127.0.0.1"
    broker_port: int = 1883
    protocol: str = "5"
    primary_host: str = "citysense"
    modbus_ports: tuple[int, int, int] = (15501, 15502, 15503)
    """TCP ports of gas-tcp, tanks-tcp and fire-tcp."""
    password_files: Mapping[str, str] = field(default_factory=dict)
    """By gateway id; a gateway without one logs in without a name."""
    spool_folder: str = "spool"
    pty_folder: str = "pty"
    """Where the serial ports stand; relative to the configurations."""
    leak_at_s: float = 30.0
    has_scenario: bool = True
    seed: int = 4


@dataclass(frozen=True, slots=True)
class _Sensor:
    """One node, as all three files need it."""

    node_id: str
    site_id: str
    model: str
    latitude: float
    longitude: float
    signals: Mapping[str, Table]
    conditions: Mapping[str, Sequence[Table]]
    """By quantity."""
    device_id: int | None = None
    channel_index: int | None = None
    panel_name: str | None = None
    """What the agent calls the channel, where that is not the number."""
    zero_frequency_hz: float | None = None


@dataclass(frozen=True, slots=True)
class _Bus:
    gateway_id: str
    bus_id: str
    kind: str
    poll_interval_s: float
    sensors: tuple[_Sensor, ...]


_MODELS: Final = {
    "honeywell_sensepoint_xrl": "Honeywell Sensepoint XRL",
    "enraf_990_smartradar": "Honeywell Enraf 990 SmartRadar",
    "winners_vtn416": "vibrating-wire strain gauge on a Winners VTN416",
    "geokon_3810a": "Geokon 3810A",
    "notifier_modbus_gw": "fire detector on a Notifier MODBUS-GW",
    "winsen_mhz19b": "Winsen MH-Z19B",
}


def build_demo(options: DemoOptions) -> dict[str, str]:
    """The configurations by file name: `field.toml`, `fleet.toml`, and one `<gateway_id>.toml` for each agent."""
    buses = tuple(_buses(options.seed))
    files = {
        "field.toml": format_toml(_field_document(buses, options), "Field devices of Canghai: `city-simulator field`."),
        "fleet.toml": format_toml(_fleet_document(buses), "The fleet of Canghai: `device-registry import`."),
    }
    for gateway_id, district_id in _GATEWAYS.items():
        document = _agent_document(gateway_id, district_id, buses, options)
        files[f"{gateway_id}.toml"] = format_toml(document, f"The gateway {gateway_id}: `edge-agent run`.")
    return files


_GATEWAYS: Final = {"gw-harbour": "harbour", "gw-riverside": "riverside"}


def _buses(seed: int) -> Iterator[_Bus]:
    yield _Bus("gw-harbour", "gas-tcp", "modbus_tcp", 0.3, tuple(_gas_sensors(seed)))
    yield _Bus("gw-harbour", "tanks-tcp", "modbus_tcp", 1.0, tuple(_tank_sensors(seed)))
    bridge = (*_strain_sensors(seed), *_bridge_temperature_sensors(seed))
    yield _Bus("gw-riverside", "bridge-rs485", "modbus_rtu", 1.0, bridge)
    yield _Bus("gw-riverside", "fire-tcp", "modbus_tcp", 1.0, tuple(_fire_sensors(seed)))
    yield _Bus("gw-riverside", "co2-uart", "serial_frame", 2.0, (_school_sensor(),))


def _gas_sensors(seed: int) -> Iterator[_Sensor]:
    device_id = 0
    for site_id, site_name, _, latitude, longitude, count in GAS_SITES:
        for number in range(1, count + 1):
            device_id += 1
            node_id = f"{site_id}-{number:02}"
            mean = round(0.5 + 0.6 * uniform(make_key(seed, node_id), 1), 2)
            signal: Table = {"kind": "drift", "mean": mean, "drift": 0.4, "noise": 0.06, "minimum": 0.0}
            conditions = (
                _condition(node_id, "methane-10", 10.0, 1.0, 2, "orange", f"Methane above 10 %LEL, {site_name}"),
                _condition(node_id, "methane-25", 25.0, 1.0, 1, "red", f"Methane above 25 %LEL, {site_name}"),
            )
            yield _Sensor(
                node_id,
                site_id,
                "honeywell_sensepoint_xrl",
                *_near(seed, node_id, latitude, longitude),
                {"methane_lel": signal},
                {"methane_lel": conditions},
                device_id,
            )


def _tank_sensors(seed: int) -> Iterator[_Sensor]:
    site_id, site_name, _, latitude, longitude, count = TANK_SITE
    for number in range(1, count + 1):
        node_id = f"{site_id}-{number:02}"
        key = make_key(seed, node_id)
        top_m = round(8.5 + 3.0 * uniform(key, 1), 2)
        level: Table = {"kind": "tank_level", "low_m": 2.5, "high_m": top_m, "period_s": 10_800.0 + 600.0 * number}
        product: Table = {
            "kind": "drift",
            "mean": round(17.0 + 3.0 * uniform(key, 2), 1),
            "drift": 0.6,
            "drift_period_s": 3600.0,
            "noise": 0.02,
        }
        high_m, high_high_m = round(0.88 * _TANK_HEIGHT_M, 2), round(0.94 * _TANK_HEIGHT_M, 2)
        conditions = (
            _condition(node_id, "level-high", high_m, 0.05, 3, "yellow", f"Tank level high, {site_name}", 5.0),
            _condition(node_id, "level-high-high", high_high_m, 0.05, 1, "red", f"Tank level high-high, {site_name}"),
        )
        yield _Sensor(
            node_id,
            site_id,
            "enraf_990_smartradar",
            *_near(seed, node_id, latitude, longitude),
            {"level": level, "temperature": product},
            {"level": conditions},
            number,
        )


def _strain_sensors(seed: int) -> Iterator[_Sensor]:
    for place, name, latitude, longitude, loggers, _ in BRIDGES:
        for row, device_id in enumerate(loggers):
            for channel in range(1, _GAUGES_PER_LOGGER + 1):
                node_id = f"strain-{place}-{'abc'[row]}{channel:02}"
                key = make_key(seed, node_id)
                signal: Table = {
                    "kind": "bridge_strain",
                    "place": place,
                    "mean_strain_ue": round(-30.0 + 110.0 * uniform(key, 1), 1),
                    "thermal_strain_ue": round(22.0 + 12.0 * uniform(key, 2), 1),
                    "lorry_strain_ue": round(18.0 + 30.0 * uniform(key, 3), 1),
                    "delay_s": round(0.25 * (row * _GAUGES_PER_LOGGER + channel), 2),
                }
                condition = _condition(
                    node_id, "strain-high", 250.0, 20.0, 2, "orange", f"Strain above 250 µε, {name}", 3.0
                )
                yield _Sensor(
                    node_id,
                    f"bridge-{place}",
                    "winners_vtn416",
                    latitude,
                    round(longitude + 0.00008 * (row * _GAUGES_PER_LOGGER + channel), 6),
                    {"strain": signal},
                    {"strain": (condition,)},
                    device_id,
                    channel,
                    zero_frequency_hz=round(870.0 + 60.0 * uniform(key, 4), 1),
                )


def _bridge_temperature_sensors(seed: int) -> Iterator[_Sensor]:
    for place, _, latitude, longitude, _, thermistors in BRIDGES:
        for number, device_id in enumerate(thermistors, start=1):
            node_id = f"temp-{place}-{number}"
            signal: Table = {"kind": "ambient_temperature", "place": place}
            yield _Sensor(
                node_id,
                f"bridge-{place}",
                "geokon_3810a",
                *_near(seed, node_id, latitude, longitude),
                {"temperature": signal},
                {},
                device_id,
            )


def _fire_sensors(seed: int) -> Iterator[_Sensor]:
    site_id, site_name, _, latitude, longitude, count = FIRE_SITE
    for number in range(1, count + 1):
        node_id = f"{site_id}-{number:03}"
        condition = _condition(node_id, "fire", 1.0, 0.5, 1, "red", f"Fire alarm, {site_name}")
        yield _Sensor(
            node_id,
            site_id,
            "notifier_modbus_gw",
            *_near(seed, node_id, latitude, longitude),
            {"fire_alarm": {"kind": "constant", "value": 0.0}},
            {"fire_alarm": (condition,)},
            1,
            number,
            f"L1D{number}",
        )


def _school_sensor() -> _Sensor:
    site_id, site_name, _, latitude, longitude = SCHOOL_SITE
    node_id = "co2-willow-1"
    condition = _condition(
        node_id, "co2-1500", 1500.0, 100.0, 3, "yellow", f"Carbon dioxide above 1500 ppm, {site_name}", 10.0
    )
    signals: dict[str, Table] = {"carbon_dioxide": {"kind": "indoor_carbon_dioxide"}}
    conditions = {"carbon_dioxide": (condition,)}
    return _Sensor(node_id, site_id, "winsen_mhz19b", latitude, longitude, signals, conditions)


def _condition(
    node_id: str,
    name: str,
    set_point: float,
    deadband: float,
    priority: int,
    colour: str,
    title: str,
    on_delay_s: float = 0.0,
) -> Table:
    return {
        "condition_id": f"{node_id}.{name}",
        "set_point": set_point,
        "deadband": deadband,
        "on_delay_s": on_delay_s,
        "priority": priority,
        "colour": colour,
        "title": title,
    }


def _near(seed: int, node_id: str, latitude: float, longitude: float) -> tuple[float, float]:
    key = make_key(seed, node_id, "position")
    north, east = (_SPREAD_DEGREES * (2.0 * uniform(key, index) - 1.0) for index in (0, 1))
    return round(latitude + north, 6), round(longitude + east, 6)


def _field_document(buses: Sequence[_Bus], options: DemoOptions) -> Table:
    document: Table = {
        "field": {"seed": options.seed, "control": "field.sock"},
        "bus": [_field_bus(bus, options) for bus in buses],
    }
    if options.has_scenario:
        document["event"] = [
            {
                "kind": "gas_leak",
                "node": "gas-quayside-07",
                "at_s": options.leak_at_s,
                "peak": 45.0,
                "rise_s": 25.0,
                "hold_s": 185.0,
                "fall_s": 40.0,
            }
        ]
        document["fault"] = _scenario_faults(options.leak_at_s)
    return document


def _scenario_faults(leak_at_s: float) -> list[Table]:
    """What fails beside the leak, in the order of time; all of it shifts with the leak."""
    rows: tuple[tuple[float, Table], ...] = (
        (-10.0, {"kind": "warm_up", "node": "gas-saltworks-05", "for_s": 90.0}),
        (30.0, {"kind": "no_answer", "node": "gas-pier-03", "for_s": 60.0}),
        (45.0, {"kind": "modbus_exception", "node": "tank-east-04", "for_s": 30.0, "code": 4}),
        (60.0, {"kind": "crc_error", "node": "strain-mill-a01", "for_s": 10.0}),
        (75.0, {"kind": "out_of_range", "node": "temp-heron-2", "for_s": 30.0, "value": 180.0}),
    )
    return [row | {"at_s": max(leak_at_s + after_s, 0.0)} for after_s, row in rows]


def _field_bus(bus: _Bus, options: DemoOptions) -> Table:
    head: Table = {"bus_id": bus.bus_id, "kind": bus.kind}
    if bus.kind == "modbus_tcp":
        head |= {"host": "127.0.0.1", "port": _tcp_port(bus.bus_id, options)}
    else:
        head |= {"link": _link(bus.bus_id, options)}
    if bus.kind == "modbus_rtu":
        head |= {"baud_rate": 115_200, "is_line_time_simulated": True}
    return head | {"node": [_field_node(sensor) for sensor in bus.sensors]}


def _field_node(sensor: _Sensor) -> Table:
    row: Table = {"node_id": sensor.node_id, "instrument": sensor.model}
    if sensor.device_id is not None:
        row["device_id"] = sensor.device_id
    if sensor.channel_index is not None:
        row["channel_index"] = sensor.channel_index
    if sensor.zero_frequency_hz is not None:
        row["vibrating_wire"] = {"gauge_factor": GAUGE_FACTOR, "zero_frequency_hz": sensor.zero_frequency_hz}
    return row | {"signal": dict(sensor.signals)}


def _agent_document(gateway_id: str, district_id: str, buses: Sequence[_Bus], options: DemoOptions) -> Table:
    mqtt: Table = {
        "host": options.broker_host,
        "port": options.broker_port,
        "protocol": options.protocol,
        "primary_host": options.primary_host,
    }
    if gateway_id in options.password_files:
        mqtt |= {"username": gateway_id, "password_file": options.password_files[gateway_id]}
    return {
        "gateway": {"gateway_id": gateway_id, "district_id": district_id},
        "mqtt": mqtt,
        "spool": {"path": f"{options.spool_folder}/{gateway_id}.sqlite", "flush_interval_s": 0.2},
        "bus": [_agent_bus(bus, options) for bus in buses if bus.gateway_id == gateway_id],
    }


def _agent_bus(bus: _Bus, options: DemoOptions) -> Table:
    head: Table = {"bus_id": bus.bus_id, "kind": bus.kind}
    if bus.kind == "modbus_tcp":
        head |= {"host": "127.0.0.1", "port": _tcp_port(bus.bus_id, options)}
    else:
        head |= {"port": _link(bus.bus_id, options), "baud_rate": 115_200 if bus.kind == "modbus_rtu" else 9600}
    return head | {"node": [_agent_node(sensor, bus.poll_interval_s) for sensor in bus.sensors]}


def _agent_node(sensor: _Sensor, poll_interval_s: float) -> Table:
    row: Table = {"node_id": sensor.node_id, "profile": sensor.model, "poll_interval_s": poll_interval_s}
    if sensor.device_id is not None:
        row["device_id"] = sensor.device_id
    channel: str | int | None = sensor.panel_name or sensor.channel_index
    if channel is not None:
        row["channel_index"] = channel
    if sensor.zero_frequency_hz is not None:
        wire: Table = {"kind": "vibrating_wire", "gauge_factor": GAUGE_FACTOR}
        row["calibration"] = {"strain": {**wire, "zero_frequency_hz": sensor.zero_frequency_hz}}
    return row


def _tcp_port(bus_id: str, options: DemoOptions) -> int:
    return options.modbus_ports[("gas-tcp", "tanks-tcp", "fire-tcp").index(bus_id)]


def _link(bus_id: str, options: DemoOptions) -> str:
    return f"{options.pty_folder}/{bus_id}"


def _fleet_document(buses: Sequence[_Bus]) -> Table:
    return {
        "district": [
            {"district_id": "harbour", "name": "Harbour District"},
            {"district_id": "riverside", "name": "Riverside District"},
        ],
        "site": list(_sites()),
        "gateway": [
            {"gateway_id": "gw-harbour", "district_id": "harbour", "name": "Harbour gateway, pilot house"},
            {"gateway_id": "gw-riverside", "district_id": "riverside", "name": "Riverside gateway, pump room"},
        ],
        "node": [_fleet_node(bus, sensor) for bus in buses for sensor in bus.sensors],
    }


def _sites() -> Iterator[Table]:
    for site_id, name, domain, latitude, longitude, _ in (*GAS_SITES, TANK_SITE):
        yield _site(site_id, "harbour", domain, name, latitude, longitude)
    for place, name, latitude, longitude, _, _ in BRIDGES:
        yield _site(f"bridge-{place}", "riverside", "bridge", name, latitude, longitude)
    for site_id, name, domain, latitude, longitude in (FIRE_SITE[:5], SCHOOL_SITE):
        yield _site(site_id, "riverside", domain, name, latitude, longitude)


def _site(site_id: str, district_id: str, domain: str, name: str, latitude: float, longitude: float) -> Table:
    return {
        "site_id": site_id,
        "district_id": district_id,
        "domain": domain,
        "name": name,
        "latitude": latitude,
        "longitude": longitude,
    }


def _fleet_node(bus: _Bus, sensor: _Sensor) -> Table:
    return {
        "node_id": sensor.node_id,
        "gateway_id": bus.gateway_id,
        "bus_id": bus.bus_id,
        "site_id": sensor.site_id,
        "model": _MODELS[sensor.model],
        "latitude": sensor.latitude,
        "longitude": sensor.longitude,
        "channel": [_fleet_channel(quantity, sensor) for quantity in sensor.signals],
    }


def _fleet_channel(quantity: str, sensor: _Sensor) -> Table:
    conditions = sensor.conditions.get(quantity, ())
    channel: Table = {"quantity": quantity}
    if conditions:
        channel["condition"] = list(conditions)
    return channel
