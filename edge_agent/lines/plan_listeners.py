"""Configuration → the endpoints of the buses that listen, with the aliases of their channels. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.channel_table import ChannelTable
from edge_agent.gb26875 import gb26875_endpoint
from edge_agent.hj212 import hj212_endpoint
from edge_agent.lines.listen_configuration import (
    EndpointSettings,
    Gb26875BusSettings,
    Hj212BusSettings,
    ListeningBusSettings,
    SerialEndpointSettings,
)
from edge_agent.lines.listen_effect import Endpoint
from edge_agent.settings.configuration import AnyBusSettings


@dataclass(frozen=True, slots=True)
class ListenerPlan:
    """A bus that listens."""

    bus_id: str
    port: EndpointSettings
    """Where it listens; a serial port with its whole path."""
    endpoint: Endpoint


def plan_listeners(buses: Iterable[AnyBusSettings], folder: Path, channels: ChannelTable) -> tuple[ListenerPlan, ...]:
    """Gives every channel of the listening buses its alias, and every such bus its endpoint.

    Args:
        buses: of the configuration; the others are passed over.
        folder: what a serial port's path is relative to.
        channels: gets the channels.
    """
    return tuple(
        ListenerPlan(bus.bus_id, locate_endpoint(bus.endpoint, folder), _build_endpoint(bus, channels))
        for bus in buses
        if isinstance(bus, ListeningBusSettings)
    )


def locate_endpoint(endpoint: EndpointSettings, folder: Path) -> EndpointSettings:
    """The endpoint with the whole path of its serial port, if it is one."""
    if not isinstance(endpoint, SerialEndpointSettings):
        return endpoint
    return endpoint.model_copy(update={"port": str(folder / endpoint.port)})


def _build_endpoint(bus: ListeningBusSettings, channels: ChannelTable) -> Endpoint:
    match bus:
        case Hj212BusSettings():
            stations = [
                hj212_endpoint.NodeChannels(
                    node,
                    {code: channels.add(bus.bus_id, node.node_id, node.quantity_of(code)) for code in node.factors},
                )
                for node in bus.node
            ]
            return hj212_endpoint.Hj212Endpoint(bus, stations)
        case Gb26875BusSettings():
            places = [
                gb26875_endpoint.NodeChannels(
                    node, {quantity: channels.add(bus.bus_id, node.node_id, quantity) for quantity in node.channels}
                )
                for node in bus.node
            ]
            return gb26875_endpoint.Gb26875Endpoint(bus, places)
