"""The fleet snapshot as the processor needs it: a gateway's metric name → channel, and what a channel belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from contracts.fleet import Channel, FleetSnapshot, LifecycleState, Node, Site
from contracts.identifiers import parse_metric_name
from contracts.kafka_topic import partition_of
from contracts.quantity import QUANTITIES, Quantity


@dataclass(frozen=True, slots=True)
class ChannelContext:
    """A channel with all that it belongs to."""

    channel: Channel
    node: Node
    site: Site
    quantity: Quantity


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why a metric of a gateway is none of its channels: a quarantine reason, and words for people."""

    reason: str
    detail: str


UNKNOWN_GATEWAY: Final = "unknown_gateway"
UNKNOWN_NODE: Final = "unknown_node"
UNKNOWN_CHANNEL: Final = "unknown_channel"
NODE_OF_ANOTHER_GATEWAY: Final = "node_of_another_gateway"
RETIRED_NODE: Final = "retired_node"
NOT_A_CHANNEL_NAME: Final = "not_a_channel_name"


def restrict_fleet(fleet: FleetSnapshot, partition: int, partitions: int) -> FleetSnapshot:
    """The part of a fleet that one partition of Kafka carries: its gateways and all that hangs on them.

    Districts and sites stay if a gateway, a node needs them. The revision is the whole fleet's.
    """
    gateways = [row for row in fleet.gateways if partition_of(row.gateway_id, partitions) == partition]
    gateway_ids = {row.gateway_id for row in gateways}
    nodes = [row for row in fleet.nodes if row.gateway_id in gateway_ids]
    node_ids, site_ids = {row.node_id for row in nodes}, {row.site_id for row in nodes}
    channels = [row for row in fleet.channels if row.node_id in node_ids]
    channel_ids = {row.channel_id for row in channels}
    sites = [row for row in fleet.sites if row.site_id in site_ids]
    district_ids = {row.district_id for row in gateways} | {row.district_id for row in sites}
    # Every reference was checked in the whole fleet, so a part that is closed under them needs no second check.
    return FleetSnapshot.model_construct(
        revision=fleet.revision,
        districts=[row for row in fleet.districts if row.district_id in district_ids],
        sites=sites,
        gateways=gateways,
        nodes=nodes,
        channels=channels,
        conditions=[row for row in fleet.conditions if row.channel_id in channel_ids],
    )


class FleetIndex:
    """Look-ups in one fleet snapshot. Never changed: a new revision is a new index."""

    def __init__(self, fleet: FleetSnapshot) -> None:
        self.revision = fleet.revision
        self.conditions = tuple(fleet.conditions)
        sites = {site.site_id: site for site in fleet.sites}
        self._gateways = {gateway.gateway_id: gateway for gateway in fleet.gateways}
        self._nodes = {node.node_id: node for node in fleet.nodes}
        self.contexts: dict[int, ChannelContext] = {}
        self._channels: dict[tuple[str, str], ChannelContext] = {}
        self._of_gateway: dict[str, list[ChannelContext]] = {}
        for channel in fleet.channels:
            node = self._nodes[channel.node_id]
            context = ChannelContext(channel, node, sites[node.site_id], QUANTITIES[channel.quantity])
            self.contexts[channel.channel_id] = context
            self._channels[channel.node_id, channel.quantity] = context
            self._of_gateway.setdefault(node.gateway_id, []).append(context)

    def knows_gateway(self, district_id: str, gateway_id: str) -> bool:
        """Whether this gateway is in this district."""
        gateway = self._gateways.get(gateway_id)
        return gateway is not None and gateway.district_id == district_id

    def resolve(self, gateway_id: str, metric_name: str) -> ChannelContext | Unresolved:
        """The channel that a gateway means by a metric name, or why there is none."""
        names = parse_metric_name(metric_name)
        if names is None:
            return Unresolved(NOT_A_CHANNEL_NAME, f"{metric_name!r} is not <node_id>/<quantity>")
        node_id, quantity = names
        node = self._nodes.get(node_id)
        if node is None:
            return Unresolved(UNKNOWN_NODE, f"the registry knows no node {node_id!r}")
        if node.gateway_id != gateway_id:
            return Unresolved(
                NODE_OF_ANOTHER_GATEWAY, f"node {node_id!r} belongs to gateway {node.gateway_id!r}, not {gateway_id!r}"
            )
        if node.state is LifecycleState.RETIRED:
            return Unresolved(RETIRED_NODE, f"node {node_id!r} is retired")
        context = self._channels.get((node_id, quantity))
        if context is None:
            return Unresolved(UNKNOWN_CHANNEL, f"node {node_id!r} has no channel {quantity!r}")
        return context

    def channels_of(self, gateway_id: str, bus_id: str | None = None) -> list[int]:
        """Channel ids of a gateway, or of one of its buses."""
        contexts = self._of_gateway.get(gateway_id, ())
        return [context.channel.channel_id for context in contexts if bus_id in (None, context.node.bus_id)]
