"""The fleet file: what a city has, written by people or by a simulator, imported by `device-registry import`.

TOML. `example_fleet.toml` beside this module shows all of it:

    [[district]]  district_id name
    [[site]]      site_id district_id domain name latitude longitude
    [[gateway]]   gateway_id district_id name
    [[node]]      node_id gateway_id bus_id site_id model (state) (latitude longitude)
      [[node.channel]]            quantity (scores)
        [[node.channel.condition]]  condition_id (input) (direction) set_point (deadband) (on_delay_s) (off_delay_s)
                                    priority colour title

The records are those of `contracts.fleet` and `contracts.alarm`; only the channel's number is not in the file: the
registry gives it. Faults of form (a missing key, an unknown quantity) and of meaning (a name that stands twice, a
gateway that is not there, a set-point that no measurement can reach) are all named at once.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, field_validator

from contracts.alarm import ConditionDefinition, ConditionInput
from contracts.condition import Direction
from contracts.configuration import Settings, check_settings, format_path
from contracts.errors import ConfigurationError, Fault
from contracts.fleet import District, Gateway, Node, Site
from contracts.identifiers import CHANNEL_ID_MAX, Identifier
from contracts.quantity import QUANTITIES, Quantity
from contracts.score import ScoreName

UNNUMBERED: Final = CHANNEL_ID_MAX
"""Stands in a condition for the channel's number until the import plan gives the real one."""

Table = dict[str, Any]
Place = tuple[int | str, ...]


def _refuse_number(table: object) -> object:
    if not isinstance(table, dict):
        return table
    if "channel_id" in table:
        raise ValueError("channel_id is given by the registry and may not stand in the file")
    return table | {"channel_id": UNNUMBERED}


FleetFileCondition = Annotated[ConditionDefinition, BeforeValidator(_refuse_number)]
"""A condition definition without its channel's number."""


class FleetFileChannel(Settings):
    """`[[node.channel]]`: one quantity of a node."""

    quantity: Identifier
    """A row of `contracts.quantity`."""
    scores: tuple[ScoreName, ...] | None = None
    """Instead of the default scores of the site's domain; empty: only `score_ewma_z`."""
    condition: tuple[FleetFileCondition, ...] = ()

    @field_validator("quantity")
    @classmethod
    def _check_quantity(cls, quantity: str) -> str:
        if quantity not in QUANTITIES:
            raise ValueError(f"not one of {', '.join(QUANTITIES)}")
        return quantity


class FleetFileNode(Node):
    """`[[node]]`: a node and its channels. `state` counts only when the node is new."""

    channel: tuple[FleetFileChannel, ...]
    """At least one."""

    @field_validator("channel")
    @classmethod
    def _check_some(cls, channels: tuple[FleetFileChannel, ...]) -> tuple[FleetFileChannel, ...]:
        if not channels:
            raise ValueError("a node has at least one [[node.channel]]")
        return channels


class FleetFile(Settings):
    """The whole file."""

    district: tuple[District, ...] = ()
    site: tuple[Site, ...] = ()
    gateway: tuple[Gateway, ...] = ()
    node: tuple[FleetFileNode, ...] = ()


def parse_fleet_file(text: str, source: str) -> FleetFile:
    """Parses and checks a fleet file.

    Raises:
        ConfigurationError: with every fault of form and of meaning (one only if it is not TOML at all).
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(source, [Fault("$", f"not TOML: {error}")]) from error
    of_meaning = list(find_faults_of_meaning(document))
    try:
        fleet = check_settings(FleetFile, document, source)
    except ConfigurationError as error:
        raise ConfigurationError(source, error.faults + of_meaning) from error
    if of_meaning:
        raise ConfigurationError(source, of_meaning)
    return fleet


def find_faults_of_meaning(document: Table) -> Iterator[Fault]:
    """Names what no single record can know. Passes over whatever is not even of the right form."""
    districts = list(_tables(document, (), "district"))
    sites = list(_tables(document, (), "site"))
    gateways = list(_tables(document, (), "gateway"))
    nodes = list(_tables(document, (), "node"))
    channels = [channel for place, node in nodes for channel in _tables(node, place, "channel")]
    conditions = [condition for place, channel in channels for condition in _tables(channel, place, "condition")]
    yield from _doubles(districts, "district_id")
    yield from _doubles(sites, "site_id")
    yield from _doubles(gateways, "gateway_id")
    yield from _doubles(nodes, "node_id")
    yield from _doubles(conditions, "condition_id")
    for place, node in nodes:
        yield from _doubles(list(_tables(node, place, "channel")), "quantity")
    yield from _absences(sites, "district_id", districts)
    yield from _absences(gateways, "district_id", districts)
    yield from _absences(nodes, "gateway_id", gateways)
    yield from _absences(nodes, "site_id", sites)
    for place, channel in channels:
        quantity = QUANTITIES.get(channel["quantity"]) if isinstance(channel.get("quantity"), str) else None
        if quantity is not None:
            for at, condition in _tables(channel, place, "condition"):
                yield from _unreachable_limits(at, condition, quantity)


def _tables(owner: Table, place: Place, key: str) -> Iterator[tuple[Place, Table]]:
    """The tables of an array of tables, each with its place in the document."""
    array = owner.get(key)
    if isinstance(array, list):
        for index, table in enumerate(array):
            if isinstance(table, dict):
                yield (*place, key, index), table


def _doubles(tables: Iterable[tuple[Place, Table]], key: str) -> Iterator[Fault]:
    first: dict[str, Place] = {}
    for place, table in tables:
        name = table.get(key)
        if not isinstance(name, str):
            continue
        if name in first:
            yield Fault(format_path((*place, key)), f"{name!r}: stands already at {format_path(first[name])}")
        first.setdefault(name, place)


def _absences(
    tables: Iterable[tuple[Place, Table]], key: str, targets: Iterable[tuple[Place, Table]]
) -> Iterator[Fault]:
    known = {table.get(key) for _, table in targets if isinstance(table.get(key), str)}
    for place, table in tables:
        name = table.get(key)
        if isinstance(name, str) and name not in known:
            yield Fault(format_path((*place, key)), f"{name!r}: there is no such {key.removesuffix('_id')} in the file")


def _unreachable_limits(place: Place, condition: Table, quantity: Quantity) -> Iterator[Fault]:
    """A set-point that is never reached, or a deadband from which no value returns, makes a silent alarm."""
    set_point = _number_of(condition.get("set_point"))
    if set_point is None:
        return
    if condition.get("input", ConditionInput.VALUE.value) != ConditionInput.VALUE.value:
        yield from _unreachable_score_limits(place, condition, set_point)
        return
    span = f"the plausible range {quantity.plausible_min:g} to {quantity.plausible_max:g} {quantity.unit}"
    if not quantity.is_plausible(set_point):
        yield Fault(format_path((*place, "set_point")), f"{set_point!r}: is outside of {span} of {quantity.name}")
        return
    deadband = _number_of(condition.get("deadband", 0.0))
    is_above = condition.get("direction", Direction.ABOVE.value) == Direction.ABOVE.value
    if deadband is not None and not quantity.is_plausible(set_point - deadband if is_above else set_point + deadband):
        yield Fault(
            format_path((*place, "deadband")),
            f"{deadband!r}: the alarm would never return, its end is outside of {span} of {quantity.name}",
        )


def _unreachable_score_limits(place: Place, condition: Table, set_point: float) -> Iterator[Fault]:
    """A score is from 0 (as usual) to 1: 0.5 is 3 sigma, 0.8 is 12."""
    if not 0.0 < set_point < 1.0:
        yield Fault(format_path((*place, "set_point")), f"{set_point!r}: a score's is between 0 and 1 (0.5 is 3 sigma)")
        return
    if condition.get("direction", Direction.ABOVE.value) != Direction.ABOVE.value:
        yield Fault(format_path((*place, "direction")), "a score near 0 is as usual: its conditions are 'above'")
    deadband = _number_of(condition.get("deadband", 0.0))
    if deadband is not None and deadband >= set_point:
        yield Fault(
            format_path((*place, "deadband")), f"{deadband!r}: the alarm would never return, its end is not above 0"
        )


def _number_of(value: object) -> float | None:
    """A finite number; what is none is a fault of form."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
