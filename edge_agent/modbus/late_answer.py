"""An answer that comes after its time-out must not be taken for the answer to a later question. Pure.

Modbus frames on a line (RTU, ASCII, and both of them over TCP) carry no transaction number: an answer is known by its
device id, its function code and its length, which two questions to one device may share. So:

- after a device that usually answers was silent, the line is left alone for a while: its answer may still come, and
  would collide with another device's;
- after a device that was silent before was silent again, only this device is not asked for as long: the others need
  not wait for the dead;
- after a device answers again, it is not asked for a while either: what came may have been the answer to the question
  before, and that to this one still be on its way.

Modbus TCP has transaction numbers and needs none of this.
"""

from __future__ import annotations


class LateAnswerGuard:
    """How long to leave devices of one line alone."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._silent: set[int] = set()
        self._device_from_s: dict[int, float] = {}

    def note(self, device_id: int, is_heard: bool, now_s: float) -> float:
        """Takes the end of an exchange; gives how long the whole line is to be left alone now.

        Args:
            device_id: who was asked.
            is_heard: whether an answer came, be it a wrong one; silence and fragments are none.
            now_s: monotonic clock.
        """
        was_silent = device_id in self._silent
        if is_heard:
            self._silent.discard(device_id)
            if was_silent:
                self._device_from_s[device_id] = now_s + self._timeout_s
            return 0.0
        self._silent.add(device_id)
        self._device_from_s[device_id] = now_s + self._timeout_s / 2.0
        return 0.0 if was_silent else self._timeout_s / 2.0

    def wait_s(self, device_id: int, now_s: float) -> float:
        """How long this device must still be left alone."""
        from_s = self._device_from_s.pop(device_id, now_s)
        return max(from_s - now_s, 0.0)
