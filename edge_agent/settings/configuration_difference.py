"""What changes when one configuration takes the place of another. Pure.

Lines (buses) that are equal keep polling; a line that differs in anything is stopped and begun anew, since its devices
share it. The broker's table needs a new connection. Who we are and where the spool is cannot change under way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.settings.configuration import AgentSettings


@dataclass(frozen=True, slots=True)
class ConfigurationDifference:
    """Names in the order of the new configuration, what was removed in the order of the old."""

    added: tuple[str, ...] = ()
    """bus_ids."""
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    """Tables beside the lines that differ: `mqtt`, `spool`, …"""

    @property
    def is_empty(self) -> bool:
        """Whether nothing would happen."""
        return not (self.added or self.removed or self.changed or self.tables)

    @property
    def needs_restart(self) -> bool:
        """Whether more than lines differs: then the process starts anew, and all lines with it."""
        return bool(self.tables)


def find_difference(old: AgentSettings, new: AgentSettings) -> ConfigurationDifference:
    """What is to be done so that an agent that runs `old` runs `new`."""
    before = {bus.bus_id: bus for bus in old.bus}
    after = {bus.bus_id: bus for bus in new.bus}
    both = [bus_id for bus_id in after if bus_id in before]
    return ConfigurationDifference(
        added=tuple(bus_id for bus_id in after if bus_id not in before),
        removed=tuple(bus_id for bus_id in before if bus_id not in after),
        changed=tuple(bus_id for bus_id in both if before[bus_id] != after[bus_id]),
        untouched=tuple(bus_id for bus_id in both if before[bus_id] == after[bus_id]),
        tables=tuple(
            name for name in AgentSettings.model_fields if name != "bus" and getattr(old, name) != getattr(new, name)
        ),
    )


def describe(difference: ConfigurationDifference) -> Iterator[str]:
    """For people, a line each: what `edge-agent check-config --against` prints."""
    if difference.is_empty:
        yield "nothing changes"
        return
    for name in difference.tables:
        yield f"[{name}]: differs, so that the agent starts anew"
    for what, bus_ids in (
        ("is new", difference.added),
        ("is gone", difference.removed),
        ("differs, its line begins anew", difference.changed),
        ("keeps polling", () if difference.needs_restart else difference.untouched),
    ):
        yield from (f"bus {bus_id}: {what}" for bus_id in bus_ids)
