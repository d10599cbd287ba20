"""What was said on `uplink.commands` → the NCMDs that this bridge publishes. Pure.

What is said of one gateway and epoch in one go becomes one NCMD. A request to send again goes only to a gateway that is
online: it cannot hear it otherwise, and is asked again. An acknowledgement goes to whoever is ours: after a restart of
the bridge an agent may listen although we have not heard its birth again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pydantic import ValidationError

from contracts.ranges import RangeSet
from contracts.uplink_command import UplinkCommand, UplinkCommandKind
from stream_processor.effects import CommandDue
from stream_processor.host_session import EdgeNode, acknowledgement, resend_request

_Key = tuple[UplinkCommandKind, str, str, int]


def parse_uplink_commands(values: Iterable[bytes | None]) -> tuple[list[UplinkCommand], int]:
    """The commands, and how many messages are none."""
    commands = []
    malformed = 0
    for value in values:
        try:
            commands.append(UplinkCommand.model_validate_json(value or b""))
        except ValidationError:
            malformed += 1
    return commands, malformed


def plan_ncmds(
    commands: Iterable[UplinkCommand],
    edge_nodes: Mapping[tuple[str, str], EdgeNode],
    hears: Callable[[str], bool],
    now_ns: int,
) -> list[CommandDue]:
    """The messages to publish.

    Args:
        commands: in the order in which they were said.
        edge_nodes: of the host session, by district and gateway.
        hears: whether a district is one of this bridge's.
        now_ns: our clock.
    """
    merged: dict[_Key, RangeSet] = {}
    addressees: dict[_Key, UplinkCommand] = {}
    for command in commands:
        if not hears(command.district_id) or not _may_be_sent(command, edge_nodes):
            continue
        key = (command.kind, command.district_id, command.gateway_id, command.epoch)
        addressees[key] = command
        ranges = merged.setdefault(key, RangeSet())
        for first, last in RangeSet.from_flat(command.flat_ranges):
            ranges.add(first, last)
    return [_ncmd(addressees[key], ranges, now_ns) for key, ranges in merged.items()]


def _may_be_sent(command: UplinkCommand, edge_nodes: Mapping[tuple[str, str], EdgeNode]) -> bool:
    if command.kind is UplinkCommandKind.ACKNOWLEDGE:
        return True
    edge_node = edge_nodes.get((command.district_id, command.gateway_id))
    return edge_node is not None and edge_node.is_online


def _ncmd(command: UplinkCommand, ranges: RangeSet, now_ns: int) -> CommandDue:
    build = acknowledgement if command.kind is UplinkCommandKind.ACKNOWLEDGE else resend_request
    return build(command, command.epoch, ranges, now_ns)
