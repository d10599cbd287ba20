"""The channels of this gateway with their Sparkplug aliases, and what was last read from each.

Aliases count from 1 over all buses (they are unique per edge node), and a channel keeps its own until the process ends,
also when the configuration is applied anew. A channel of a line that has left the configuration is withdrawn: no birth
shows it any more, until it comes back. One that is only found in the spool gets an alias when it is met.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from contracts.identifiers import format_metric_name
from contracts.quantity import QUANTITIES
from contracts.waveform import SUFFIX

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
    def is_waveform(self) -> bool:
        """Whether it is sent as arrays (contracts.waveform)."""
        return self.quantity.endswith(SUFFIX)

    @property
    def unit(self) -> str:
        """UCUM code; empty for a quantity that is no longer in the table."""
        known = QUANTITIES.get(self.quantity.removesuffix(SUFFIX))
        return "" if known is None else known.unit


class ChannelTable:
    """All channels, found by alias or by name.

    Columns by alias in place of objects: ten thousand channels are 2 MB.
    """

    def __init__(self) -> None:
        self._alias_of: dict[str, dict[tuple[str, str], int]] = {}
        """By bus and (node_id, quantity)."""
        self._bus_ids: list[str] = [""]
        self._withdrawn: set[int] = set()
        self._last: list[Reading | None] = [None]
        self.names: list[tuple[str, str]] = [("", "")]
        """(node_id, quantity) by alias."""

    def add(self, bus_id: str, node_id: str, quantity: str) -> int:
        """The channel's alias; a new one if it is not there yet. One that was withdrawn is back."""
        of_bus = self._alias_of.setdefault(bus_id, {})
        name = (node_id, quantity)
        alias = of_bus.get(name)
        if alias is None:
            alias = of_bus[name] = len(self.names)
            self._bus_ids.append(bus_id)
            self._last.append(None)
            self.names.append(name)
        self._withdrawn.discard(alias)
        return alias

    def add_all(self, bus_id: str, names: Sequence[tuple[str, str]]) -> tuple[list[int], bool]:
        """The aliases of channels (node_id, quantity) of a bus, and whether births did not show one of them before."""
        of_bus = self._alias_of.get(bus_id, {})
        known = [of_bus[name] for name in names if name in of_bus]
        if len(known) == len(names) and self._withdrawn.isdisjoint(known):
            return known, False
        return [self.add(bus_id, *name) for name in names], True

    def withdraw(self, bus_id: str) -> None:
        """Takes all channels of a bus out of the births, and forgets what was last read from them."""
        aliases = self._alias_of.get(bus_id, {}).values()
        self._withdrawn.update(aliases)
        for alias in aliases:
            self._last[alias] = None

    def aliases(self) -> Mapping[tuple[str, str], int]:
        """By (node_id, quantity), of the channels that are not withdrawn: a node is on one bus."""
        return {names: alias for alias, names in enumerate(self.names) if alias and alias not in self._withdrawn}

    def is_withdrawn(self, alias: int) -> bool:
        """Whether births do not show it any more."""
        return alias in self._withdrawn

    def __getitem__(self, alias: int) -> Channel:
        if not 0 < alias < len(self.names):
            raise IndexError(alias)
        return Channel(alias, self._bus_ids[alias], *self.names[alias])

    def __len__(self) -> int:
        """All channels, withdrawn ones too: the greatest alias."""
        return len(self.names) - 1

    def bus_ids(self) -> list[str]:
        """Buses with channels, in order of their first one."""
        return [bus_id for bus_id, of_bus in self._alias_of.items() if not self._withdrawn.issuperset(of_bus.values())]

    def of_bus(self, bus_id: str) -> Iterator[Channel]:
        """The channels of a bus that are not withdrawn."""
        aliases = self._alias_of.get(bus_id, {}).values()
        return (self[alias] for alias in aliases if alias not in self._withdrawn)

    def note(self, readings: list[Reading]) -> None:
        """Remembers the newest reading of each channel, for births."""
        last = self._last
        for reading in readings:
            last[reading[0]] = reading

    def last(self, alias: int) -> Reading | None:
        """What was last read, or None."""
        return self._last[alias]
