"""Messages of HJ 212-2017 that come in several packets (Flag bit 1, PNUM, PNO) are put together. Pure.

Every packet is a whole frame with a part of the parameters. Packets may come in any order and twice; a message that
is not whole in time is given up, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from edge_agent.hj212.hj212_report import joined_parameters
from edge_agent.hj212.hj212_segment import Segment

PATIENCE_S: Final = 60.0
"""How long the packets of a message may take. This project's judgement."""
MESSAGES_MAX: Final = 16
"""Messages that may be unfinished at a time on one connection; the oldest gives way."""
BYTES_MAX: Final = 256 * 1024
"""Parameters of one message; more is none of the standard's."""

_Key = tuple[str, str, str, int]


@dataclass(slots=True)
class _Message:
    due_s: float
    parts: dict[int, Segment] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(len(part.parameters) for part in self.parts.values())


class PacketAssembly:
    """The unfinished messages of one connection."""

    def __init__(self) -> None:
        self._messages: dict[_Key, _Message] = {}

    def add(self, segment: Segment, now_s: float) -> tuple[Segment | None, list[str]]:
        """Takes a segment; gives the whole message if it is one now, and what was given up for it.

        Args:
            segment: a packet, or a whole message, which is given back as it is.
            now_s: monotonic clock.
        """
        packet = segment.packet
        if packet is None:
            return segment, []
        number, count = packet
        key = (segment.device, segment.command, segment.fields.get("ST", ""), count)
        message = self._messages.setdefault(key, _Message(now_s + PATIENCE_S))
        lost = []
        earlier = message.parts.get(number)
        if earlier is not None and earlier.parameters != segment.parameters:  # the next message has begun
            lost.append(self._give_up(key, "another message began"))
            message = self._messages[key] = _Message(now_s + PATIENCE_S)
        message.parts[number] = segment
        if len(message.parts) == count:
            del self._messages[key]
            parameters = joined_parameters([message.parts[at].parameters for at in sorted(message.parts)])
            return replace(segment, parameters=parameters), lost
        return None, lost + self._keep_bounds(key)

    def tick(self, now_s: float) -> list[str]:
        """What is given up now, as text for the log."""
        late = [key for key, message in self._messages.items() if now_s >= message.due_s]
        return [self._give_up(key, f"after {PATIENCE_S:g} s") for key in late]

    def _keep_bounds(self, newest: _Key) -> list[str]:
        lost = []
        if self._messages[newest].size > BYTES_MAX:
            lost.append(self._give_up(newest, f"more than {BYTES_MAX} bytes"))
        while len(self._messages) > MESSAGES_MAX:
            lost.append(self._give_up(next(iter(self._messages)), f"more than {MESSAGES_MAX} messages"))
        return lost

    def _give_up(self, key: _Key, why: str) -> str:
        device, command, _, count = key
        parts = self._messages.pop(key).parts
        return f"mn={device} cn={command} packets={len(parts)} of={count} why={why!r}"
