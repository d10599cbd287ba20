"""Chooses what an import changes: the known fleet and a fleet file → changes, or faults. Pure.

The file says what the city has. What is in the registry and no longer in the file is a fault, because a line lost
in an editor must not silence an alarm; with `retire_missing` such nodes and channels are retired, such conditions
removed, and such districts, sites and gateways removed unless a retired node still stands there.

A channel is known by node and quantity. Its number comes from a counter that only grows: it is the same in every
later import, also after the channel was retired and came back, and never another channel's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from pydantic import BaseModel

from contracts.alarm import ConditionDefinition
from contracts.errors import Fault
from contracts.fleet import Channel, District, Gateway, LifecycleState, Node, Site
from contracts.identifiers import CHANNEL_ID_MAX, format_metric_name
from device_registry.audit import Action, Kind
from device_registry.fleet_file import FleetFile, FleetFileNode

RecordT = TypeVar("RecordT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class KnownFleet:
    """All that the registry holds, each record under its audit key."""

    districts: Mapping[str, District] = field(default_factory=dict)
    sites: Mapping[str, Site] = field(default_factory=dict)
    gateways: Mapping[str, Gateway] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    channels: Mapping[str, Channel] = field(default_factory=dict)
    """Retired ones included."""
    retired_channels: frozenset[str] = frozenset()
    conditions: Mapping[str, ConditionDefinition] = field(default_factory=dict)
    next_channel_id: int = 1


@dataclass(frozen=True, slots=True)
class Change:
    """One record that becomes, changes or goes."""

    action: Action
    kind: Kind
    key: str
    record: BaseModel
    """As it is afterwards; as it was, if it is removed."""
    detail: str


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What to do, in an order that never leaves a reference hanging. Nothing is done if there are faults."""

    changes: list[Change]
    next_channel_id: int
    faults: list[Fault]


def plan_import(known: KnownFleet, wanted: FleetFile, *, retire_missing: bool) -> ImportPlan:
    """Compares and chooses."""
    nodes = {node.node_id: _record_of(node, known.nodes.get(node.node_id)) for node in wanted.node}
    channels, next_channel_id = _number_channels(known, wanted.node)
    conditions = dict(_conditions(wanted.node, channels))
    districts = {row.district_id: row for row in wanted.district}
    sites = {row.site_id: row for row in wanted.site}
    gateways = {row.gateway_id: row for row in wanted.gateway}
    arriving = chain(
        _differences(Kind.DISTRICT, known.districts, districts),
        _differences(Kind.SITE, known.sites, sites),
        _differences(Kind.GATEWAY, known.gateways, gateways),
        _differences(Kind.NODE, known.nodes, nodes),
        _restorations(known, channels),
        _differences(Kind.CHANNEL, known.channels, channels),
        _differences(Kind.CONDITION, known.conditions, conditions),
    )
    changes = list(arriving)
    leaving = list(_departures(known, districts, sites, gateways, nodes, channels, conditions))
    faults = [] if retire_missing else [_name_departure(change) for change in leaving]
    if next_channel_id > CHANNEL_ID_MAX + 1:
        faults.append(Fault("$.node", f"the {CHANNEL_ID_MAX} channel numbers are used up"))
    return ImportPlan(changes + leaving, next_channel_id, faults)


def _record_of(node: FleetFileNode, before: Node | None) -> Node:
    """The node without its channels, in the state that it has already (see `node_life_cycle`)."""
    fields = node.model_dump(exclude={"channel"})
    return Node.model_validate(fields if before is None else fields | {"state": before.state})


def _number_channels(known: KnownFleet, nodes: Iterable[FleetFileNode]) -> tuple[dict[str, Channel], int]:
    channels = {}
    next_channel_id = known.next_channel_id
    for node in nodes:
        for channel in node.channel:
            key = format_metric_name(node.node_id, channel.quantity)
            before = known.channels.get(key)
            number = min(next_channel_id, CHANNEL_ID_MAX) if before is None else before.channel_id
            next_channel_id += before is None
            channels[key] = Channel(
                channel_id=number, node_id=node.node_id, quantity=channel.quantity, scores=channel.scores
            )
    return channels, next_channel_id


def _conditions(
    nodes: Iterable[FleetFileNode], channels: Mapping[str, Channel]
) -> Iterator[tuple[str, ConditionDefinition]]:
    for node in nodes:
        for channel in node.channel:
            channel_id = channels[format_metric_name(node.node_id, channel.quantity)].channel_id
            for condition in channel.condition:
                yield condition.condition_id, condition.model_copy(update={"channel_id": channel_id})


def _differences(kind: Kind, known: Mapping[str, RecordT], wanted: Mapping[str, RecordT]) -> Iterator[Change]:
    for key, record in wanted.items():
        before = known.get(key)
        if before is None:
            yield Change(Action.ADDED, kind, key, record, record.model_dump_json())
        elif before != record:
            yield Change(Action.CHANGED, kind, key, record, format_difference(before, record))


def format_difference(before: BaseModel, after: BaseModel) -> str:
    """`field: before → after`, for every field that differs."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return "; ".join(f"{name}: {old[name]!r} → {new[name]!r}" for name in new if old[name] != new[name])


def _restorations(known: KnownFleet, channels: Mapping[str, Channel]) -> Iterator[Change]:
    for key in sorted(known.retired_channels & channels.keys()):
        yield Change(Action.RESTORED, Kind.CHANNEL, key, channels[key], f"channel_id: {channels[key].channel_id}")


def _departures(
    known: KnownFleet,
    districts: Mapping[str, District],
    sites: Mapping[str, Site],
    gateways: Mapping[str, Gateway],
    nodes: Mapping[str, Node],
    channels: Mapping[str, Channel],
    conditions: Mapping[str, ConditionDefinition],
) -> Iterator[Change]:
    """What the registry has and the file has not: from the leaves of the tree to its root."""
    vanished_nodes = _missing(known.nodes, nodes)
    kept_channel_ids = {row.channel_id for row in known.channels.values() if row.node_id in vanished_nodes}
    for key, condition in _missing(known.conditions, conditions).items():
        if condition.channel_id not in kept_channel_ids:
            yield _removal(Kind.CONDITION, key, condition)
    for key, channel in _missing(known.channels, channels).items():
        if channel.node_id not in vanished_nodes and key not in known.retired_channels:
            yield Change(Action.RETIRED, Kind.CHANNEL, key, channel, f"channel_id: {channel.channel_id}")
    for key, node in vanished_nodes.items():
        if node.state is not LifecycleState.RETIRED:
            retired = node.model_copy(update={"state": LifecycleState.RETIRED})
            yield Change(Action.RETIRED, Kind.NODE, key, retired, format_difference(node, retired))
    yield from _place_removals(known, districts, sites, gateways, vanished_nodes.values())


def _place_removals(
    known: KnownFleet,
    districts: Mapping[str, District],
    sites: Mapping[str, Site],
    gateways: Mapping[str, Gateway],
    vanished_nodes: Iterable[Node],
) -> Iterator[Change]:
    """Gateways, sites and districts that vanished, and where not even a retired node stands."""
    still_there = list(vanished_nodes)
    needed_gateways = {node.gateway_id for node in still_there}
    needed_sites = {node.site_id for node in still_there}
    needed_districts = {known.gateways[key].district_id for key in needed_gateways - gateways.keys()}
    needed_districts |= {known.sites[key].district_id for key in needed_sites - sites.keys()}
    for kind, records, needed in (
        (Kind.GATEWAY, _missing(known.gateways, gateways), needed_gateways),
        (Kind.SITE, _missing(known.sites, sites), needed_sites),
        (Kind.DISTRICT, _missing(known.districts, districts), needed_districts),
    ):
        for key, record in records.items():
            if key not in needed:
                yield _removal(kind, key, record)


def _missing(known: Mapping[str, RecordT], wanted: Mapping[str, object]) -> dict[str, RecordT]:
    return {key: record for key, record in known.items() if key not in wanted}


def _removal(kind: Kind, key: str, record: BaseModel) -> Change:
    return Change(Action.REMOVED, kind, key, record, record.model_dump_json())


def _name_departure(change: Change) -> Fault:
    verb = "retire" if change.action is Action.RETIRED else "remove"
    return Fault(
        f"$.{change.kind.value}",
        f"{change.key!r}: is in the registry but not in the file; --retire-missing would {verb} it",
    )
