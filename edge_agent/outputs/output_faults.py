"""Faults of outputs and actuators that need two places of the configuration at once. Pure.

They are looked for in the document itself, like those of `configuration.find_cross_faults`, so that they are named even
where another part of it is not well-formed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.configuration import format_path
from contracts.errors import Fault

QuantitiesOf = Mapping[str, tuple[str, ...]]
"""The quantities that each profile measures."""


@dataclass(frozen=True, slots=True)
class _Node:
    quantities: tuple[str, ...] | None
    """None: they do not come from a profile."""
    limits: Mapping[str, tuple[float, float]]
    """Minimum and maximum of each actuator."""


def find_output_faults(document: Mapping[str, Any], quantities_of: QuantitiesOf) -> Iterator[Fault]:
    """Outputs that name what is not there, and actuators that share a name."""
    nodes: dict[str, _Node] = {}
    for bus_at, bus in _tables(document, "bus"):
        for node_at, node in _tables(bus, "node"):
            path = format_path(("bus", bus_at, "node", node_at))
            yield from _actuator_faults(path, node, quantities_of)
            nodes.setdefault(str(node.get("node_id")), _read_node(node, quantities_of))
    seen: dict[str, str] = {}
    for at, output in _tables(document, "output"):
        path = format_path(("output", at))
        name = str(output.get("output_id"))
        if name in seen:
            yield Fault(f"{path}.output_id", f"{name!r}: stands at {seen[name]} already")
        seen.setdefault(name, f"{path}.output_id")
        for condition_at, condition in _tables(output, "condition"):
            yield from _condition_faults(f"{path}.condition[{condition_at}]", condition, nodes)
        for key in ("on", "off"):
            yield from _action_faults(f"{path}.{key}", output.get(key), nodes)


def _read_node(node: Mapping[str, Any], quantities_of: QuantitiesOf) -> _Node:
    limits = {
        str(actuator.get("name")): (_number(actuator.get("minimum")), _number(actuator.get("maximum")))
        for _, actuator in _tables(node, "actuator")
    }
    measured = quantities_of.get(str(node.get("profile")))
    if measured is not None and isinstance(node.get("measures"), str):
        measured = (*measured, str(node["measures"]))  # the instrument is fitted for it
    return _Node(
        measured,
        limits,
    )


def _actuator_faults(path: str, node: Mapping[str, Any], quantities_of: QuantitiesOf) -> Iterator[Fault]:
    taken = dict.fromkeys(quantities_of.get(str(node.get("profile")), ()), "the profile")
    for at, actuator in _tables(node, "actuator"):
        name, own_path = str(actuator.get("name")), f"{path}.actuator[{at}].name"
        if name in taken:
            yield Fault(own_path, f"{name!r}: stands at {taken[name]} already")
        taken.setdefault(name, own_path)


def _condition_faults(path: str, condition: Mapping[str, Any], nodes: Mapping[str, _Node]) -> Iterator[Fault]:
    node_id, quantity = condition.get("node_id"), condition.get("quantity")
    node = nodes.get(str(node_id))
    if node is None:
        yield Fault(f"{path}.node_id", f"{node_id!r}: there is no node of that name")
    elif node.quantities is not None and quantity not in node.quantities:
        yield Fault(f"{path}.quantity", f"{quantity!r}: {node_id} measures {', '.join(node.quantities)}")


def _action_faults(path: str, action: object, nodes: Mapping[str, _Node]) -> Iterator[Fault]:
    if not isinstance(action, dict) or action.get("kind") != "write":
        return
    node_id, name, value = action.get("node_id"), action.get("actuator"), _number(action.get("value"))
    node = nodes.get(str(node_id))
    if node is None:
        yield Fault(f"{path}.node_id", f"{node_id!r}: there is no node of that name")
    elif name not in node.limits:
        declared = ", ".join(node.limits) or "no actuator"
        yield Fault(f"{path}.actuator", f"{name!r}: {node_id} declares {declared}")
    else:
        low, high = node.limits[str(name)]
        if value < low or value > high:
            yield Fault(f"{path}.value", f"{value:g}: {node_id}/{name} takes {low:g} to {high:g}")


def _number(value: object) -> float:
    """NaN, which no limit holds back, if it is none: the typed model says so at its own place."""
    return float(value) if isinstance(value, int | float) else float("nan")


def _tables(parent: Mapping[str, Any], key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    tables = parent.get(key)
    if isinstance(tables, list):
        yield from ((at, table) for at, table in enumerate(tables) if isinstance(table, dict))
