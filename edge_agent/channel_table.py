"""The channels of this gateway with their Sparkplug aliases, and what was last read from each.

Aliases count from 1 over all buses (they are unique per edge node) and stay as they are until the process ends.
A channel that is only found in the spool (its node has left the configuration) gets an alias when it is met.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from contracts.identifiers import format_metric_name
from contracts.quantity import QUANTITIES

Reading = tuple[int, int, float | None, int]
"""(alias, phenomenon_ns, value, reason code). A plain tuple: hundreds of thousands pass per minute."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity of a node."""

    alias: int
    bus_id: str
    node_id: str
    quantity: str

    @property
    def metric_name(self) -> str:
        """`<node_id>/<quantity>`."""
        return format_metric_name(self.node_id, self.quantity)

    @property
    def unit(self) -> str:
        """UCUM code; empty for a quantity that is no longer in the table."""
        known = QUANTITIES.get(self.quantity)
        return "" if known is None else known.unit


class ChannelTable:
    """All channels, found by alias or by name."""

    def __init__(self) -> None:
        self._channels: list[Channel] = []
        self._alias_of: dict[tuple[str, str, str], int] = {}
        self._last: list[Reading | None] = [None]
        self.names: list[tuple[str, str]] = [("", "")]
        """(node_id, quantity) by alias."""

    def add(self, bus_id: str, node_id: str, quantity: str) -> int:
        """The channel's alias; a new one if it is not there yet."""
        key = (bus_id, node_id, quantity)
        alias = self._alias_of.get(key)
        if alias is None:
            alias = len(self._channels) + 1
            self._alias_of[key] = alias
            self._channels.append(Channel(alias, *key))
            self._last.append(None)
            self.names.append((node_id, quantity))
        return alias

    def aliases(self) -> Mapping[tuple[str, str], int]:
        """By (node_id, quantity): a node is on one bus."""
        return {names: alias for alias, names in enumerate(self.names) if alias}

    def has(self, bus_id: str, node_id: str, quantity: str) -> bool:
        """Whether the channel has an alias already."""
        return (bus_id, node_id, quantity) in self._alias_of

    def __getitem__(self, alias: int) -> Channel:
        return self._channels[alias - 1]

    def __len__(self) -> int:
        return len(self._channels)

    def bus_ids(self) -> list[str]:
        """Buses in order of their first channel."""
        return list(dict.fromkeys(channel.bus_id for channel in self._channels))

    def of_bus(self, bus_id: str) -> Iterator[Channel]:
        """The channels of a bus."""
        return (channel for channel in self._channels if channel.bus_id == bus_id)

    def note(self, readings: list[Reading]) -> None:
        """Remembers the newest reading of each channel, for births."""
        last = self._last
        for reading in readings:
            last[reading[0]] = reading

    def last(self, alias: int) -> Reading | None:
        """What was last read, or None."""
        return self._last[alias]
