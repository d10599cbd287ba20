"""Configuration → actuators and local outputs with the aliases of their channels. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.errors import ConfigurationError, Fault
from edge_agent.channel_table import ChannelTable
from edge_agent.outputs.actuator import Actuator
from edge_agent.outputs.local_alarm import LocalCondition
from edge_agent.outputs.output_settings import OutputSettings
from edge_agent.settings.configuration import AgentSettings, ModbusNodeSettings

OutputConditions = list[tuple[str, Sequence[LocalCondition]]]


def plan_actuators(settings: AgentSettings) -> list[Actuator]:
    """All declared actuators, in the order of the configuration."""
    return [
        Actuator(bus.bus_id, node.node_id, node.device_id, actuator)
        for bus in settings.bus
        for node in bus.node
        if isinstance(node, ModbusNodeSettings)
        for actuator in node.actuator
    ]


def plan_conditions(outputs: Sequence[OutputSettings], channels: ChannelTable) -> OutputConditions:
    """The conditions of each output.

    Raises:
        ConfigurationError: a condition is on a channel that this gateway does not have.
    """
    alias_of = {name: alias for alias, name in enumerate(channels.names) if alias}
    faults = list(_find_strangers(outputs, alias_of))
    if faults:
        raise ConfigurationError("[[output]]", faults)
    return [
        (output.output_id, [LocalCondition(alias_of[one.node_id, one.quantity], one) for one in output.condition])
        for output in outputs
    ]


def _find_strangers(outputs: Sequence[OutputSettings], alias_of: dict[tuple[str, str], int]) -> Iterator[Fault]:
    for at, output in enumerate(outputs):
        for condition_at, condition in enumerate(output.condition):
            if (condition.node_id, condition.quantity) not in alias_of:
                path = f"$.output[{at}].condition[{condition_at}]"
                yield Fault(path, f"{condition.node_id}/{condition.quantity}: this gateway has no such channel")
