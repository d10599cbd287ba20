"""The order of one edge node's messages by `seq`, and what waits for a missing one. Pure: owns no clock.

`seq` counts 0…255 over all messages of an edge node but NDEATH. A message with another number than the expected one
opens a window; the one that is missing closes it; if it does not come, the caller closes it when the time is up
(Sparkplug 3.0, tck-id-operational-behavior-host-reordering-*).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

SEQ_MODULUS: Final = 256
AHEAD_MAX_COUNT: Final = SEQ_MODULUS // 2
"""So many messages later the missing one is gone: nearly a turn later its number would come again for another one."""
WAITING_MAX_BYTES: Final = 1024 * 1024
"""What may wait of one edge node: beyond it the window counts as elapsed, so that no gateway can fill our memory."""

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class _Seen(Generic[M]):
    """A message that came before its turn. `message` is None if it was taken at once."""

    message: M | None
    byte_count: int


@dataclass(slots=True)
class SequenceWindow(Generic[M]):
    """What is known of the order. `expected` is None while nothing is: then any number is the next one."""

    expected: int | None = None
    opened_ns: int | None = None
    """When the first message out of order came; None while nothing is missing."""
    _ahead: dict[int, _Seen[M]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether so much came that the missing one is given up before its time."""
        return (
            len(self._ahead) >= AHEAD_MAX_COUNT
            or sum(seen.byte_count for seen in self._ahead.values()) > WAITING_MAX_BYTES
        )

    def is_next(self, seq: int) -> bool:
        """Whether a message with this number keeps the order."""
        return self.expected is None or seq == self.expected

    def holds(self, seq: int) -> bool:
        """Whether this number came already: the edge node repeats itself."""
        return seq in self._ahead

    def advance(self, seq: int) -> None:
        """A message in order was taken."""
        self.expected = (seq + 1) % SEQ_MODULUS

    def note_ahead(self, seq: int, message: M | None, byte_count: int, now_ns: int) -> None:
        """A message came before its turn: it waits, or (None) was taken at once. Opens the window."""
        self._ahead[seq] = _Seen(message, byte_count)
        if self.opened_ns is None:
            self.opened_ns = now_ns

    def pop_next(self) -> list[M]:
        """What waited and is now in order. Closes the window if nothing is missing any more."""
        freed: list[M] = []
        while self.expected is not None and (seen := self._ahead.pop(self.expected, None)) is not None:
            self.advance(self.expected)
            if seen.message is not None:
                freed.append(seen.message)
        if not self._ahead:
            self.opened_ns = None
        return freed

    def is_elapsed(self, now_ns: int, timeout_ns: int) -> bool:
        """Whether a message has been missing for `timeout_ns`. A clock that was set back counts as elapsed."""
        return self.opened_ns is not None and not 0 <= now_ns - self.opened_ns < timeout_ns

    def close(self) -> list[M]:
        """Gives up: all that waits, in the order of the edge node. The next message is taken as it numbers itself."""
        base = self.expected or 0
        order = sorted(self._ahead, key=lambda seq: (seq - base) % SEQ_MODULUS)
        waiting = [message for seq in order if (message := self._ahead[seq].message) is not None]
        self._ahead.clear()
        self.opened_ns = None
        self.expected = None
        return waiting
