"""Nodes that nobody hears of any more say so: once per limit, with reason `stale`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.observation import whole_milliseconds
from contracts.quality import Reason
from edge_agent.channel_table import Reading
from edge_agent.lines.listen_effect import Deliver, Effect, Lane, Moment, Note


@dataclass(frozen=True, slots=True)
class WatchedNode:
    """A node's channels, and how long it may be silent."""

    node_id: str
    aliases: tuple[int, ...]
    silent_after_s: float


class SilenceWatch:
    """When each node was last heard of."""

    def __init__(self, nodes: Sequence[WatchedNode]) -> None:
        self._nodes: Mapping[str, WatchedNode] = {node.node_id: node for node in nodes}
        self._due_s: dict[str, float] = {}
        self._silent: set[str] = set()

    def heard(self, node_id: str, now: Moment) -> list[Effect]:
        """A node was heard of."""
        self._due_s[node_id] = now.monotonic_s + self._nodes[node_id].silent_after_s
        if node_id not in self._silent:
            return []
        self._silent.discard(node_id)
        return [Note("station_back", f"node_id={node_id}", is_warning=False)]

    def tick(self, now: Moment) -> list[Effect]:
        """What is silent for too long."""
        effects: list[Effect] = []
        for node in self._nodes.values():
            due_s = self._due_s.setdefault(node.node_id, now.monotonic_s + node.silent_after_s)
            if now.monotonic_s < due_s:
                continue
            self._due_s[node.node_id] = now.monotonic_s + node.silent_after_s
            if node.node_id not in self._silent:
                self._silent.add(node.node_id)
                effects.append(Note("station_silent", f"node_id={node.node_id} after_s={node.silent_after_s:g}"))
            effects.append(Deliver(tuple(_stale(alias, now) for alias in node.aliases), Lane.LIVE))
        return effects


def _stale(alias: int, now: Moment) -> Reading:
    return alias, whole_milliseconds(now.wall_ns), None, int(Reason.STALE)
