"""A user transmitter of GB/T 26875.3-2011: what it sends it sends again until it is confirmed. Pure.

It confirms what the centre orders, answers what it asks from `states`, and denies what it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from simulators.gb26875_frame import CentreFrame, make_frame, split_frames

SEND = 2
CONFIRM = 3
REPLY = 5
DENY = 6


@dataclass(slots=True)
class _Sent:
    data: bytes
    due_s: float
    tries: int = 1


@dataclass(slots=True)
class FireTransmitter:
    """One transmitter; every method gives the bytes that it puts on the line."""

    address: int
    clock: str
    """What its clock shows; it stands still."""
    timeout_s: float = 1.0
    retries: int = 3
    answers: dict[int, bytes] = field(default_factory=dict)
    """By type of the question: the data unit of the reply."""
    confirmed: list[int] = field(default_factory=list)
    denied: list[int] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)
    heard: list[CentreFrame] = field(default_factory=list)
    """Orders and questions of the centre."""
    next_serial: int = 0
    _waiting: dict[int, _Sent] = field(default_factory=dict)
    _buffer: bytearray = field(default_factory=bytearray)

    def send(self, data: bytes, now_s: float, *, is_sum_wrong: bool = False) -> bytes:
        """Sends a data unit; with a wrong sum the first time, if wanted."""
        serial = self.next_serial
        self.next_serial += 1
        self._waiting[serial] = _Sent(data, now_s + self.timeout_s)
        return self._frame(serial, SEND, data, is_sum_wrong=is_sum_wrong)

    def tick(self, now_s: float) -> bytes:
        """What is sent again; what was sent often enough is given up."""
        out = b""
        for serial, sent in list(self._waiting.items()):
            if now_s < sent.due_s:
                continue
            if sent.tries > self.retries:
                del self._waiting[serial]
                self.given_up.append(serial)
                continue
            sent.tries += 1
            sent.due_s = now_s + self.timeout_s
            out += self._frame(serial, SEND, sent.data)
        return out

    def receive(self, octets: bytes, now_s: float) -> bytes:
        """Takes what the centre says; gives the answers. Raises ValueError at bytes that are no right frame."""
        self._buffer += octets
        return b"".join(self._obey(frame, now_s) for frame in split_frames(self._buffer))

    def _obey(self, frame: CentreFrame, now_s: float) -> bytes:
        if frame.command == CONFIRM:
            if self._waiting.pop(frame.serial, None) is not None:
                self.confirmed.append(frame.serial)
            return b""
        if frame.command == DENY:
            self.denied.append(frame.serial)
            if frame.serial in self._waiting:
                self._waiting[frame.serial].due_s = now_s
            return self.tick(now_s)
        self.heard.append(frame)
        kind = frame.data[0]
        if kind in self.answers:
            return self._frame(frame.serial, REPLY, self.answers[kind])
        return self._frame(frame.serial, CONFIRM if kind in {90, 91} else DENY, b"")

    def _frame(self, serial: int, command: int, data: bytes, *, is_sum_wrong: bool = False) -> bytes:
        return make_frame(serial, command, data, source=self.address, sent=self.clock, is_sum_wrong=is_sum_wrong)
