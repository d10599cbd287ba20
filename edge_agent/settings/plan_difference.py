"""What changes when one plan takes the place of another. Pure.

a line                    that is the same keeps polling; another one is stopped and started; told by its digest
[[output]], actuators,    take effect at once, without touching a line
[configuration]
[gateway] [mqtt] [spool]  need a restart of the agent's work: death, all lines anew, a new epoch (one or two seconds;
[audit]                   the process stays)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edge_agent.agent_plan import AgentPlan

RESTARTING_TABLES: Final = ("gateway", "mqtt", "spool", "audit")
"""Tables that cannot change under what runs."""


@dataclass(frozen=True, slots=True)
class PlanDifference:
    """By lines (bus ids), each in the order of its plan."""

    kept: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    """Of `RESTARTING_TABLES`."""
    outputs: bool = False
    actuators: bool = False
    fall_back: bool = False

    @property
    def is_none(self) -> bool:
        """Whether both plans do the same."""
        lines = self.changed or self.added or self.withdrawn
        return not (lines or self.tables or self.outputs or self.actuators or self.fall_back)

    @property
    def needs_restart(self) -> bool:
        """Whether it cannot be applied while lines keep polling."""
        return bool(self.tables)

    @property
    def stopped(self) -> tuple[str, ...]:
        """Lines that do not go on as they are."""
        return (*self.changed, *self.withdrawn)

    @property
    def started(self) -> tuple[str, ...]:
        """Lines that begin."""
        return (*self.changed, *self.added)


def compare_plans(running: AgentPlan, wanted: AgentPlan) -> PlanDifference:
    """What is to be done so that `wanted` runs in place of `running`."""
    before, after = running.line_digests, wanted.line_digests
    return PlanDifference(
        kept=tuple(bus_id for bus_id in after if after[bus_id] == before.get(bus_id)),
        changed=tuple(bus_id for bus_id in after if bus_id in before and after[bus_id] != before[bus_id]),
        added=tuple(bus_id for bus_id in after if bus_id not in before),
        withdrawn=tuple(bus_id for bus_id in before if bus_id not in after),
        tables=tuple(name for name in RESTARTING_TABLES if getattr(running, name) != getattr(wanted, name)),
        outputs=running.outputs != wanted.outputs,
        actuators=running.actuators != wanted.actuators,
        fall_back=running.fall_back_after_s != wanted.fall_back_after_s,
    )


def describe_in_short(difference: PlanDifference) -> str:
    """One line, for the log and for the host."""
    if difference.is_none:
        return "unchanged"
    if difference.needs_restart:
        return f"restart for {', '.join(f'[{name}]' for name in difference.tables)}"
    parts = [
        f"{len(names)} {word}"
        for names, word in (
            (difference.kept, "lines keep polling"),
            (difference.changed, "changed"),
            (difference.added, "added"),
            (difference.withdrawn, "withdrawn"),
        )
        if names
    ]
    return ", ".join([*parts, *_beside_lines(difference)])


def describe_difference(running: AgentPlan, wanted: AgentPlan) -> list[str]:
    """Lines for a person who is about to apply `wanted`; both plans with all their lines."""
    difference = compare_plans(running, wanted)
    if difference.is_none:
        return ["no difference: nothing would be touched"]
    lines = [f"[{name}] changes: {told}" for name in difference.tables for told in _fields(running, wanted, name)]
    before = {line.bus_id: set(line.channel_names()) for line in running.lines}
    after = {line.bus_id: set(line.channel_names()) for line in wanted.lines}
    lines += [f"{bus_id}: new line, {_count(after[bus_id])}" for bus_id in difference.added]
    lines += [f"{bus_id}: withdrawn, {_count(before[bus_id])} end" for bus_id in difference.withdrawn]
    for bus_id in difference.changed:
        lines += _describe_line(bus_id, before[bus_id], after[bus_id])
    lines += [f"{word} change" for word in _beside_lines(difference)]
    if difference.needs_restart:
        return [*lines, "needs a restart of all lines: one or two seconds without readings, within the process"]
    if difference.kept:
        lines.append(f"{len(difference.kept)} lines keep polling: {_list(difference.kept)}")
    return lines


def _describe_line(bus_id: str, before: set[tuple[str, str]], after: set[tuple[str, str]]) -> Iterator[str]:
    yield f"{bus_id}: changed, is stopped and started"
    for names, sign in ((after - before, "+"), (before - after, "-")):
        yield from (f"  {sign} {node_id}/{quantity}" for node_id, quantity in sorted(names))


def _beside_lines(difference: PlanDifference) -> list[str]:
    named = (("local outputs", difference.outputs), ("actuators", difference.actuators))
    return [name for name, changes in (*named, ("fall_back_after_s", difference.fall_back)) if changes]


def _fields(running: AgentPlan, wanted: AgentPlan, table: str) -> Iterator[str]:
    before, after = vars(getattr(running, table)), vars(getattr(wanted, table))
    return (f"{name} = {after[name]!r} (was {before[name]!r})" for name in after if after[name] != before[name])


def _count(channels: set[tuple[str, str]]) -> str:
    return f"{len(channels)} channel{'' if len(channels) == 1 else 's'}"


def _list(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
