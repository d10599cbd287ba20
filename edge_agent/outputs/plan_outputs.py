"""Local outputs with the aliases of their channels. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from contracts.errors import ConfigurationError, Fault
from edge_agent.channel_table import ChannelTable
from edge_agent.outputs.local_alarm import LocalCondition
from edge_agent.outputs.output_settings import LocalConditionSettings, OutputSettings, WriteAction

OutputConditions = list[tuple[str, Sequence[LocalCondition]]]


def plan_conditions(outputs: Sequence[OutputSettings], channels: ChannelTable) -> OutputConditions:
    """The conditions of each output.

    Raises:
        ConfigurationError: a condition is on a channel that this gateway does not have.
    """
    alias_of = channels.aliases() if outputs else {}
    check_conditions(outputs, alias_of)
    return [
        (
            output.output_id,
            [LocalCondition(alias_of[one.node_id, one.quantity], one, condition_key(one)) for one in output.condition],
        )
        for output in outputs
    ]


def check_conditions(outputs: Sequence[OutputSettings], channels: Collection[tuple[str, str]]) -> None:
    """Raises ConfigurationError if a condition is on a channel that is not among these (node_id, quantity)."""
    faults = list(_find_strangers(outputs, channels))
    if faults:
        raise ConfigurationError("[[output]]", faults)


def condition_key(condition: LocalConditionSettings) -> str:
    """The same for the same condition: channel, threshold and delays."""
    return (
        f"{condition.node_id}/{condition.quantity} {condition.direction} {condition.set_point!r}"
        f" deadband {condition.deadband!r} delays {condition.on_delay_s!r} {condition.off_delay_s!r}"
    )


def plan_returns(outputs: Sequence[OutputSettings], channels: ChannelTable) -> dict[int, tuple[str, ...]]:
    """By alias of a channel: the outputs that write to its node, and so must be set again when it is back."""
    outputs_of: dict[str, tuple[str, ...]] = {}
    for output in outputs:
        nodes = {action.node_id for action in (output.on, output.off) if isinstance(action, WriteAction)}
        for node_id in nodes:
            outputs_of[node_id] = (*outputs_of.get(node_id, ()), output.output_id)
    if not outputs_of:
        return {}
    return {alias: outputs_of[name[0]] for name, alias in channels.aliases().items() if name[0] in outputs_of}


def _find_strangers(outputs: Sequence[OutputSettings], channels: Collection[tuple[str, str]]) -> Iterator[Fault]:
    for at, output in enumerate(outputs):
        for condition_at, condition in enumerate(output.condition):
            if (condition.node_id, condition.quantity) not in channels:
                path = f"$.output[{at}].condition[{condition_at}]"
                yield Fault(path, f"{condition.node_id}/{condition.quantity}: this gateway has no such channel")
