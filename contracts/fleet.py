"""Fleet records of the device registry, and the snapshot of them that processors keep.

city → district (Sparkplug group) → site → gateway (edge node) → bus (Sparkplug device) → node → channel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from contracts.alarm import ConditionDefinition
from contracts.identifiers import ChannelId, Identifier
from contracts.quantity import QUANTITIES
from contracts.score import OTHER_SCORES, ScoreName

_RECORD = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Domain(StrEnum):
    """What a site is part of; also the InfluxDB measurement and the Parquet partition."""

    GAS = "gas"
    BRIDGE = "bridge"
    CHEMICAL = "chemical"
    FIRE = "fire"
    FOREST = "forest"
    BUILDING = "building"


class LifecycleState(StrEnum):
    """Where a node is in its life."""

    PLANNED = "planned"
    PROVISIONED = "provisioned"
    ACTIVE = "active"
    MAINTENANCE = "maintenance"
    RETIRED = "retired"


class District(BaseModel):
    """A part of the city; the Sparkplug group."""

    model_config = _RECORD
    district_id: Identifier
    name: str


class Site(BaseModel):
    """A bridge, a gas station, a tank farm, a forest sector."""

    model_config = _RECORD
    site_id: Identifier
    district_id: Identifier
    domain: Domain
    name: str
    latitude: float = Field(ge=-90.0, le=90.0)
    longitude: float = Field(ge=-180.0, le=180.0)


class Gateway(BaseModel):
    """An edge agent's computer; the Sparkplug edge node."""

    model_config = _RECORD
    gateway_id: Identifier
    district_id: Identifier
    name: str


class Node(BaseModel):
    """One physical sensing device."""

    model_config = _RECORD
    node_id: Identifier
    gateway_id: Identifier
    bus_id: Identifier
    site_id: Identifier
    model: str
    state: LifecycleState = LifecycleState.ACTIVE
    latitude: float | None = Field(default=None, ge=-90.0, le=90.0)
    longitude: float | None = Field(default=None, ge=-180.0, le=180.0)


class Channel(BaseModel):
    """One quantity of a node."""

    model_config = _RECORD
    channel_id: ChannelId
    node_id: Identifier
    quantity: Identifier
    scores: tuple[ScoreName, ...] | None = None
    """Scores that it has beside `score_ewma_z`, each once, in the order of `OTHER_SCORES` whatever was given. None:
    the default of its domain (`contracts.detector_set`)."""

    @field_validator("scores")
    @classmethod
    def _order_scores(cls, scores: tuple[ScoreName, ...] | None) -> tuple[ScoreName, ...] | None:
        """Two lists that mean the same are the same: no change of the fleet."""
        return None if scores is None else tuple(kind for kind in OTHER_SCORES if kind in scores)

    @model_validator(mode="after")
    def _check_quantity(self) -> Channel:
        if self.quantity not in QUANTITIES:
            raise ValueError(f"quantity {self.quantity!r} is not one of {', '.join(QUANTITIES)}")
        return self


class FleetSnapshot(BaseModel):
    """The whole fleet at one revision, as `GET /v1/fleet` gives it and a processor keeps it on disk."""

    model_config = _RECORD
    revision: int = Field(ge=0)
    districts: list[District] = []
    sites: list[Site] = []
    gateways: list[Gateway] = []
    nodes: list[Node] = []
    channels: list[Channel] = []
    conditions: list[ConditionDefinition] = []

    @model_validator(mode="after")
    def _check_references(self) -> FleetSnapshot:
        faults = list(find_reference_faults(self))
        if faults:
            raise ValueError("; ".join(faults))
        return self


def find_reference_faults(fleet: FleetSnapshot) -> Iterable[str]:
    """Names every double identifier and every reference to a record that is not there."""
    yield from _doubles("district", (row.district_id for row in fleet.districts))
    yield from _doubles("site", (row.site_id for row in fleet.sites))
    yield from _doubles("gateway", (row.gateway_id for row in fleet.gateways))
    yield from _doubles("node", (row.node_id for row in fleet.nodes))
    yield from _doubles("channel", (row.channel_id for row in fleet.channels))
    yield from _doubles("channel", ((row.node_id, row.quantity) for row in fleet.channels))
    yield from _doubles("condition", (row.condition_id for row in fleet.conditions))
    districts = {row.district_id for row in fleet.districts}
    sites = {row.site_id for row in fleet.sites}
    gateways = {row.gateway_id for row in fleet.gateways}
    nodes = {row.node_id for row in fleet.nodes}
    channels = {row.channel_id for row in fleet.channels}
    for site in fleet.sites:
        yield from _absent(f"site {site.site_id}", "district", site.district_id, districts)
    for gateway in fleet.gateways:
        yield from _absent(f"gateway {gateway.gateway_id}", "district", gateway.district_id, districts)
    for node in fleet.nodes:
        yield from _absent(f"node {node.node_id}", "gateway", node.gateway_id, gateways)
        yield from _absent(f"node {node.node_id}", "site", node.site_id, sites)
    for channel in fleet.channels:
        yield from _absent(f"channel {channel.channel_id}", "node", channel.node_id, nodes)
    for condition in fleet.conditions:
        yield from _absent(f"condition {condition.condition_id}", "channel", condition.channel_id, channels)


def _doubles(kind: str, keys: Iterable[object]) -> Iterable[str]:
    return (f"{kind} {key!r} stands {count} times" for key, count in Counter(keys).items() if count > 1)


def _absent(owner: str, kind: str, key: object, known: set[object] | set[str] | set[int]) -> Iterable[str]:
    if key not in known:
        yield f"{owner}: there is no {kind} {key!r}"
