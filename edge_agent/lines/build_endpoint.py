"""The plan of a line that listens → its endpoint, with the aliases of its channels. Pure."""

from __future__ import annotations

from edge_agent.agent_plan import ListeningLinePlan
from edge_agent.channel_table import ChannelTable
from edge_agent.lines.listen_configuration import Gb26875BusSettings, Hj212BusSettings
from edge_agent.lines.listen_effect import Endpoint


def build_endpoint(plan: ListeningLinePlan, channels: ChannelTable) -> Endpoint:
    """Gives every channel of the line its alias, and builds the endpoint that its stations call."""
    bus = plan.bus
    return _build_hj212(bus, channels) if isinstance(bus, Hj212BusSettings) else _build_gb26875(bus, channels)


def _build_hj212(bus: Hj212BusSettings, channels: ChannelTable) -> Endpoint:
    from edge_agent.hj212 import hj212_endpoint  # noqa: PLC0415  # only where there is such a line

    stations = [
        hj212_endpoint.NodeChannels(
            node, {code: channels.add(bus.bus_id, node.node_id, node.quantity_of(code)) for code in node.codes}
        )
        for node in bus.node
    ]
    return hj212_endpoint.Hj212Endpoint(bus, stations)


def _build_gb26875(bus: Gb26875BusSettings, channels: ChannelTable) -> Endpoint:
    from edge_agent.gb26875 import gb26875_endpoint  # noqa: PLC0415  # only where there is such a line

    places = [
        gb26875_endpoint.NodeChannels(
            node, {quantity: channels.add(bus.bus_id, node.node_id, quantity) for quantity in node.channels}
        )
        for node in bus.node
    ]
    return gb26875_endpoint.Gb26875Endpoint(bus, places)
