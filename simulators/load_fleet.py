"""The fleet of a load: gateways, buses and channels, and the files that make the platform know them. Pure.

N gateways in D districts; each has K nodes, of the kinds below in turn; a bus holds as many nodes as fit in one DDATA.
Every bus is read once an interval, the buses evenly spread over it, so that all channels together give the rate.
Identifiers carry the prefix `load-`: nobody takes them for a real site. They lie in the open East China Sea.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from contracts.quantity import QUANTITIES
from simulators.errors import LoadError
from simulators.sparkplug_template import FIRST_ALIAS, LAST_ALIAS
from simulators.toml_text import Toml, format_toml

Table = dict[str, Toml]

INTERVAL_MIN_S: Final = 0.01
"""Sparkplug timestamps are whole milliseconds; an agent refuses shorter intervals, too."""
SPREAD_MAX_MS: Final = 900
"""The channels of a bus are measured one after the other, over at most this time before the batch is due."""


@dataclass(frozen=True, slots=True)
class Condition:
    """An alarm condition: above `set_point`."""

    name: str
    set_point: float
    deadband: float
    priority: int
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class ChannelKind:
    """How a quantity behaves: a random walk that is drawn back to its mean, in the quantity's unit."""

    quantity: str
    mean: float
    spread: float
    """The means of two channels differ by about this."""
    step: float
    """Standard deviation of the change from reading to reading."""
    low: float
    high: float
    condition: Condition | None = None

    @property
    def decimals(self) -> int:
        """Digits that an instrument shows."""
        return QUANTITIES[self.quantity].decimals


@dataclass(frozen=True, slots=True)
class NodeKind:
    """A model of sensing device."""

    name: str
    model: str
    domain: str
    channels: tuple[ChannelKind, ...]


_METHANE: Final = Condition("methane-25", 25.0, 1.0, 1, "red", "Methane above 25 %LEL")
_LEVEL: Final = Condition("level-high", 12.0, 0.05, 3, "yellow", "Tank level high")
_STRAIN: Final = Condition("strain-high", 250.0, 20.0, 2, "orange", "Strain above 250 µε")

NODE_KINDS: Final = (
    NodeKind(
        "gas",
        "Honeywell Sensepoint XRL",
        "gas",
        (
            ChannelKind("methane_lel", 2.0, 1.0, 0.15, 0.0, 12.0, _METHANE),
            ChannelKind("temperature", 18.0, 4.0, 0.05, -20.0, 45.0),
        ),
    ),
    NodeKind(
        "air",
        "Plantower PMS5003T",
        "building",
        (
            ChannelKind("pm2_5", 22.0, 8.0, 1.2, 0.0, 400.0),
            ChannelKind("pm10", 35.0, 10.0, 1.5, 0.0, 600.0),
            ChannelKind("temperature", 19.0, 4.0, 0.05, -20.0, 45.0),
            ChannelKind("relative_humidity", 55.0, 10.0, 0.4, 0.0, 100.0),
        ),
    ),
    NodeKind(
        "strain",
        "vibrating-wire strain gauge on a Winners VTN416",
        "bridge",
        (
            ChannelKind("strain", 40.0, 30.0, 1.5, -200.0, 200.0, _STRAIN),
            ChannelKind("temperature", 17.0, 4.0, 0.05, -20.0, 45.0),
        ),
    ),
    NodeKind(
        "tank",
        "Honeywell Enraf 990 SmartRadar",
        "chemical",
        (
            ChannelKind("level", 7.0, 2.0, 0.004, 0.5, 11.5, _LEVEL),
            ChannelKind("temperature", 18.0, 2.0, 0.03, -20.0, 45.0),
            ChannelKind("pressure", 101.3, 0.8, 0.1, 80.0, 130.0),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What the person who starts a load decides about its fleet."""

    gateways: int
    rate_per_s: float
    """Readings a second, of all gateways together."""
    nodes_per_gateway: int = 100
    districts: int = 4
    batch_readings: int = 200
    """The most channels of a bus: the readings of one DDATA."""
    is_ewma_only: bool = False
    """Its channels are scored by `score_ewma_z` alone, not by the detectors of their domain."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One sensing device."""

    node_id: str
    kind: NodeKind


@dataclass(frozen=True, slots=True)
class BusPlan:
    """What one DDATA holds."""

    bus_id: str
    first_alias: int
    """Its channels have this alias, +1, …"""
    nodes: tuple[NodePlan, ...]

    def channels(self) -> Iterator[tuple[str, ChannelKind]]:
        """Node and kind of each channel, by position."""
        return ((node.node_id, channel) for node in self.nodes for channel in node.kind.channels)

    @property
    def channel_count(self) -> int:
        """Readings of one batch."""
        return sum(len(node.kind.channels) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """One Sparkplug edge node."""

    gateway_id: str
    district_id: str
    buses: tuple[BusPlan, ...]


class LoadPlan:
    """The whole fleet. Raises LoadError if the options cannot be met."""

    def __init__(self, options: LoadOptions) -> None:
        _check(options)
        self.options = options
        self.gateways = tuple(_gateway(number, options) for number in range(1, options.gateways + 1))
        if self.interval_s < INTERVAL_MIN_S:
            fastest = self.channel_count / INTERVAL_MIN_S
            raise LoadError(
                f"{options.rate_per_s:g} readings/s of {self.channel_count} channels: a channel is read at most every "
                f"{INTERVAL_MIN_S:g} s, so {fastest:g} readings/s are the most; more nodes or gateways give more"
            )

    @cached_property
    def channel_count(self) -> int:
        """Channels of all gateways."""
        return sum(bus.channel_count for gateway in self.gateways for bus in gateway.buses)

    @property
    def interval_s(self) -> float:
        """Each bus is read once in this time."""
        return self.channel_count / self.options.rate_per_s

    def offsets_ms(self, channel_count: int) -> list[int]:
        """How long before its batch is due each channel of a bus was measured, by position."""
        spread_ms = min(SPREAD_MAX_MS, int(900 * self.interval_s))
        return [spread_ms * (channel_count - 1 - position) // channel_count for position in range(channel_count)]


def fleet_document(plan: LoadPlan) -> str:
    """The registry's import file: `device-registry import`."""
    districts = [f"load-{number}" for number in range(1, plan.options.districts + 1)]
    document: Table = {
        "district": [{"district_id": each, "name": f"Load district {each[5:]}"} for each in districts],
        "site": [_site(district, number, kind) for number, district in enumerate(districts) for kind in NODE_KINDS],
        "gateway": [
            {"gateway_id": each.gateway_id, "district_id": each.district_id, "name": f"Load gateway {each.gateway_id}"}
            for each in plan.gateways
        ],
        "node": [
            _node(gateway, bus, node, plan.options)
            for gateway in plan.gateways
            for bus in gateway.buses
            for node in bus.nodes
        ],
    }
    return format_toml(document, "The fleet of `city-simulator load`: `device-registry import`.")


def broker_document(plan: LoadPlan, host_id: str, host: str, port: int) -> str:
    """The description of a broker that these gateways may connect to: `broker-config render`.

    Password files stand in `passwords/` beside it, one a gateway, named for it, and one named for the host.
    """
    document: Table = {
        "listener": {"host": host, "port": port, "port_v311": port + 1},
        "limits": {"max_connections": len(plan.gateways) + 100},
        "persistence": {"directory": "persistence"},
        "host": [{"user_name": host_id, "host_id": host_id, "password_file": f"passwords/{host_id}"}],
        "gateway": [
            {
                "gateway_id": each.gateway_id,
                "district_id": each.district_id,
                "password_file": f"passwords/{each.gateway_id}",
            }
            for each in plan.gateways
        ],
    }
    return format_toml(document, "A broker for `city-simulator load`: `broker-config render --kind mosquitto`.")


def condition_id(node_id: str, condition: Condition) -> str:
    """As the fleet file names it."""
    return f"{node_id}.{condition.name}"


def _check(options: LoadOptions) -> None:
    for name in ("gateways", "nodes_per_gateway", "districts", "batch_readings"):
        if getattr(options, name) < 1:
            raise LoadError(f"{name} is {getattr(options, name)}: at least 1")
    if not 0 < options.rate_per_s < float("inf"):
        raise LoadError(f"a rate of {options.rate_per_s:g} readings/s: more than 0")
    most = max(len(kind.channels) for kind in NODE_KINDS)
    if options.batch_readings < most:
        raise LoadError(f"batch_readings is {options.batch_readings}: a node alone has up to {most} channels")


def _gateway(number: int, options: LoadOptions) -> GatewayPlan:
    gateway_id = f"load-{number:04}"
    nodes = [
        NodePlan(f"{gateway_id}-{kind.name}-{position:04}", kind)
        for position in range(options.nodes_per_gateway)
        for kind in [NODE_KINDS[position % len(NODE_KINDS)]]
    ]
    buses: list[BusPlan] = []
    alias = FIRST_ALIAS
    for index, on_bus in enumerate(_split(nodes, options.batch_readings), start=1):
        bus = BusPlan(f"bus-{index}", alias, tuple(on_bus))
        alias += bus.channel_count
        buses.append(bus)
    if alias - 1 > LAST_ALIAS:
        raise LoadError(
            f"{alias - FIRST_ALIAS} channels of one gateway: at most {LAST_ALIAS - FIRST_ALIAS + 1}, take more gateways"
        )
    return GatewayPlan(gateway_id, f"load-{(number - 1) % options.districts + 1}", tuple(buses))


def _split(nodes: Sequence[NodePlan], channels_max: int) -> Iterator[list[NodePlan]]:
    """Nodes in a row whose channels fit into one batch."""
    group: list[NodePlan] = []
    channels = 0
    for node in nodes:
        count = len(node.kind.channels)
        if channels + count > channels_max:
            yield group
            group, channels = [], 0
        group.append(node)
        channels += count
    yield group


def _site(district_id: str, number: int, kind: NodeKind) -> Table:
    return {
        "site_id": f"{district_id}-{kind.name}",
        "district_id": district_id,
        "domain": kind.domain,
        "name": f"Load site {district_id}, {kind.name}",
        "latitude": round(30.5 + 0.02 * (number // 10), 6),
        "longitude": round(124.2 + 0.02 * (number % 10), 6),
    }


def _node(gateway: GatewayPlan, bus: BusPlan, node: NodePlan, options: LoadOptions) -> Table:
    return {
        "node_id": node.node_id,
        "gateway_id": gateway.gateway_id,
        "bus_id": bus.bus_id,
        "site_id": f"{gateway.district_id}-{node.kind.name}",
        "model": node.kind.model,
        "channel": [_channel(node.node_id, channel, options) for channel in node.kind.channels],
    }


def _channel(node_id: str, channel: ChannelKind, options: LoadOptions) -> Table:
    table: Table = {"quantity": channel.quantity}
    if options.is_ewma_only:
        table["scores"] = []
    condition = channel.condition
    if condition is not None:
        table["condition"] = [
            {
                "condition_id": condition_id(node_id, condition),
                "set_point": condition.set_point,
                "deadband": condition.deadband,
                "priority": condition.priority,
                "colour": condition.colour,
                "title": condition.title,
            }
        ]
    return table
