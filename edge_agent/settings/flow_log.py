"""Which flows of data come at all: good readings of a line, acknowledgements of the host. Pure; time is passed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edge_agent.channel_table import Reading
from edge_agent.settings.configuration_trial import UPLINK, flow_of


class FlowLog:
    """When each flow was last seen."""

    def __init__(self) -> None:
        self._last_s: dict[str, float] = {}

    def note_batch(self, bus_id: str, readings: Sequence[Reading], now_s: float) -> None:
        """Readings were sealed: the line flows if one of them is good."""
        if any(reason == 0 for _, _, _, reason in readings):
            self._last_s[flow_of(bus_id)] = now_s

    def note_acknowledgement(self, now_s: float) -> None:
        """The host has stored something of ours."""
        self._last_s[UPLINK] = now_s

    def since(self, begin_s: float) -> Iterator[tuple[str, float]]:
        """The flows that came after a time, and when last."""
        seen: Mapping[str, float] = self._last_s
        return ((name, last_s) for name, last_s in seen.items() if last_s >= begin_s)
