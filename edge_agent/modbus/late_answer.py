"""An answer that comes after its time-out must not be taken for the answer to a later question. Pure.

Modbus frames on a line (RTU, ASCII, and both of them over TCP) carry no transaction number: an answer is known by its
device id, its function code and its length, which two questions to one device may share. So:

- after a device that usually answers was silent, the line is left alone for a while: its answer may still come, and
  would collide with another device's;
- after a device that was silent before was silent again, only this device is not asked for as long: the others need
  not wait for the dead;
- after a device answers again, it is not asked for a while either: what came may have been the answer to a question
  before, and those to the others still be on their way, each as late as that one. Answers are taken to be up to
  `LATE_TIMEOUTS` late.

Modbus TCP has transaction numbers and needs none of this.
"""

from __future__ import annotations

from typing import Final

LATE_TIMEOUTS: Final = 3.0
"""An answer that is later than so many time-outs is not reckoned with."""


class LateAnswerGuard:
    """How long to leave devices of one line alone."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._asked_s: dict[int, float] = {}
        """When each device was last asked."""
        self._unanswered_s: dict[int, list[float]] = {}
        """When silent devices were asked, of late."""
        self._device_from_s: dict[int, float] = {}

    def note(self, device_id: int, is_heard: bool, now_s: float) -> float:
        """Takes the end of an exchange; gives how long the whole line is to be left alone now.

        Args:
            device_id: who was asked.
            is_heard: whether an answer came, be it a wrong one; silence and fragments are none.
            now_s: monotonic clock.
        """
        asked_s = self._asked_s.get(device_id, now_s)
        was_silent = device_id in self._unanswered_s
        reach_s = LATE_TIMEOUTS * self._timeout_s
        before = [one_s for one_s in self._unanswered_s.pop(device_id, ()) if asked_s - one_s <= reach_s]
        if is_heard:
            if was_silent:
                others_s = asked_s - before[0] + self._timeout_s / 2.0 if before else 0.0
                self._device_from_s[device_id] = now_s + max(self._timeout_s, others_s)
            return 0.0
        self._unanswered_s[device_id] = [*before, asked_s]
        self._device_from_s[device_id] = now_s + self._timeout_s / 2.0
        return 0.0 if was_silent else self._timeout_s / 2.0

    def wait_s(self, device_id: int, now_s: float) -> float:
        """How long this device must still be left alone; it is asked right after that."""
        from_s = self._device_from_s.pop(device_id, now_s)
        wait_s = max(from_s - now_s, 0.0)
        self._asked_s[device_id] = now_s + wait_s
        return wait_s
