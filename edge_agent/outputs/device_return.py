"""When a device that outputs write to is back: it may have been without power, and stand as it likes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from contracts.quality import Reason
from edge_agent.channel_table import Reading

_AWAY: Final = frozenset(int(one) for one in (Reason.NO_ANSWER, Reason.LINE_LOST, Reason.MODBUS_GATEWAY_UNAVAILABLE))


class DeviceReturns:
    """Watches the channels of the nodes that outputs write to."""

    def __init__(self, outputs_of: Mapping[int, Sequence[str]]) -> None:
        """All are taken to be there.

        Args:
            outputs_of: by alias of a channel, the outputs that write to its node.
        """
        self._outputs_of = outputs_of
        self._away: set[int] = set()

    def take(self, readings: Iterable[Reading]) -> list[str]:
        """The outputs that are to be set again: a device of theirs was silent, and is heard of now."""
        outputs_of = self._outputs_of
        if not outputs_of:
            return []
        back: dict[str, None] = {}
        for alias, _, _, code in readings:
            if alias not in outputs_of:
                continue
            if code in _AWAY:
                self._away.add(alias)
            elif alias in self._away:
                self._away.discard(alias)
                back |= dict.fromkeys(outputs_of[alias])
        return list(back)
