"""The set-points that the agent knows: those of its local outputs, and what is an alarm by itself. Pure.

A reading at or beyond one is urgent (its batch goes before all backlog), and is never thinned out of a full spool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from contracts.condition import Direction
from edge_agent.outputs.output_settings import OutputSettings


class SetPoints(NamedTuple):
    """Between these a channel raises no alarm; None: there is none on this side."""

    low: float | None
    high: float | None

    def is_beyond(self, value: float | None) -> bool:
        """Whether a value is at or beyond a set-point."""
        if value is None:
            return False
        return (self.low is not None and value <= self.low) or (self.high is not None and value >= self.high)


NO_SET_POINTS: Final = SetPoints(None, None)

ChannelSetPoints = Mapping[tuple[str, str], SetPoints]
"""By (node_id, quantity)."""


ALARM_QUANTITIES: Final = frozenset({"fire_alarm"})
"""Quantities of which a 1 is an alarm, whatever anybody configured."""


def plan_set_points(outputs: Iterable[OutputSettings], channels: Iterable[tuple[str, str]] = ()) -> ChannelSetPoints:
    """The first set-point on each side of each channel: what is beyond a further one is beyond it, too.

    Args:
        outputs: with their conditions.
        channels: (node_id, quantity) of all channels.
    """
    found = {channel: SetPoints(None, 1.0) for channel in channels if channel[1] in ALARM_QUANTITIES}
    for output in outputs:
        for condition in output.condition:
            key = (condition.node_id, condition.quantity)
            low, high = found.get(key, NO_SET_POINTS)
            if condition.direction is Direction.ABOVE:
                high = condition.set_point if high is None else min(high, condition.set_point)
            else:
                low = condition.set_point if low is None else max(low, condition.set_point)
            found[key] = SetPoints(low, high)
    return found
