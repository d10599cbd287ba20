"""Which gateways are online: what the bridge has to tell on `gateway.status`. Pure.

A gateway is told when it is born, dies, gets another epoch or tells other losses, and otherwise when a payload came and
it was told of long enough ago. A bridge that starts knows nobody, so it tells all of its gateways as offline. One that
has left the fleet is told as gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.query import BridgeHealth, GatewayHealth
from stream_processor.host_session import EdgeNode

REFRESH_NS: Final = 10 * NANOSECONDS_PER_SECOND
BRIDGE_KEY: Final = "bridge/"
"""No gateway's key begins so: an identifier has no slash."""


class _Told(NamedTuple):
    health: GatewayHealth
    told_ns: int


class GatewayStatus:
    """What was told last of each gateway of our districts."""

    def __init__(self) -> None:
        self._districts: dict[str, str] = {}
        self._told: dict[str, _Told] = {}

    def take_fleet(self, districts: Mapping[str, str]) -> None:
        """The gateways of our districts: gateway_id → district_id."""
        self._districts = dict(districts)

    def pop_due(
        self, edge_nodes: Mapping[tuple[str, str], EdgeNode], now_ns: int
    ) -> Iterable[tuple[str, GatewayHealth | None]]:
        """What is to be told now: gateway_id and its status, None if it has left the fleet."""
        for gateway_id in [each for each in self._told if each not in self._districts]:
            del self._told[gateway_id]
            yield gateway_id, None
        yield from self._changes(edge_nodes, now_ns)

    def _changes(
        self, edge_nodes: Mapping[tuple[str, str], EdgeNode], now_ns: int
    ) -> Iterator[tuple[str, GatewayHealth]]:
        for gateway_id, district_id in self._districts.items():
            edge_node = edge_nodes.get((district_id, gateway_id))
            told = self._told.get(gateway_id)
            if told is not None and not _is_news(told, edge_node, now_ns):
                continue
            health = _health(gateway_id, edge_node)
            self._told[gateway_id] = _Told(health, now_ns)
            yield gateway_id, health


def _is_news(told: _Told, edge_node: EdgeNode | None, now_ns: int) -> bool:
    if edge_node is None:
        return False  # told as offline, and never heard since
    health = told.health
    if (edge_node.is_online, edge_node.epoch, edge_node.losses) != (health.is_online, health.epoch, health.losses):
        return True
    return edge_node.last_payload_ns != health.last_payload_ns and not 0 <= now_ns - told.told_ns < REFRESH_NS


def _health(gateway_id: str, edge_node: EdgeNode | None) -> GatewayHealth:
    if edge_node is None:
        return GatewayHealth(gateway_id=gateway_id, is_online=False, epoch=None, last_payload_ns=None)
    return GatewayHealth(
        gateway_id=gateway_id,
        is_online=edge_node.is_online,
        epoch=edge_node.epoch,
        last_payload_ns=edge_node.last_payload_ns,
        losses=edge_node.losses,
    )


class BridgeStatus:
    """What a bridge tells of itself: each change, and otherwise every REFRESH_NS."""

    def __init__(self, host_id: str) -> None:
        self._host_id = host_id
        self._told: BridgeHealth | None = None

    @property
    def key(self) -> str:
        """The key of its messages."""
        return f"{BRIDGE_KEY}{self._host_id}"

    def pop_due(self, now_ns: int, *, is_broker_connected: bool, shed_batches_total: int) -> BridgeHealth | None:
        """What is to be told now, if anything."""
        told = self._told
        if (
            told is not None
            and told.is_broker_connected == is_broker_connected
            and told.shed_batches_total == shed_batches_total
            and 0 <= now_ns - told.told_ns < REFRESH_NS
        ):
            return None
        self._told = BridgeHealth(
            host_id=self._host_id,
            is_broker_connected=is_broker_connected,
            shed_batches_total=shed_batches_total,
            told_ns=now_ns,
        )
        return self._told
