"""An RTU device on a pseudo-terminal that takes the time of a wire: characters at a baud rate, silences between frames.

    python tests/timed_line.py BAUD_RATE        prints the port's path, then serves until its input ends, then prints
                                                `{"polls": …, "hurried": …, "least_silence_s": …}`

A pseudo-terminal passes bytes at once. So the device reckons: a question that begins to arrive at T is whole at
T + 8 characters; after 3.5 characters of silence (1.75 ms above 19,200 baud) the answer begins, and its bytes are
given when their last bit would have passed, in pieces as a UART's FIFO gives them. A question that begins before the
line was silent for as long after the last answer is `hurried`. Function code 3 only; register N holds N.
"""

from __future__ import annotations

import json
import os
import pty
import select
import struct
import sys
import time
import tty
from dataclasses import dataclass, field
from typing import Final

CHARACTER_BITS: Final = 11
QUESTION_BYTES: Final = 8
ANSWER_OVERHEAD_BYTES: Final = 5
PIECE_BYTES: Final = 16
"""What a 16550's FIFO holds."""
CLOCK_SLACK_S: Final = 0.000_05


@dataclass(frozen=True)
class WireTime:
    """What passes on a wire takes so long (MODBUS over Serial Line V1.02, 2.5.1 and 2.5.1.1)."""

    baud_rate: int

    @property
    def character_s(self) -> float:
        return CHARACTER_BITS / self.baud_rate

    @property
    def silence_s(self) -> float:
        return 0.00175 if self.baud_rate > 19_200 else 3.5 * self.character_s

    def cycle_s(self, registers: int) -> float:
        """The shortest time from one question to the next: both frames, and a silence after each."""
        characters = QUESTION_BYTES + ANSWER_OVERHEAD_BYTES + 2 * registers
        return characters * self.character_s + 2 * self.silence_s


@dataclass
class TimedDevice:
    """The far end."""

    wire: WireTime
    near: int
    silent_since_s: float = -1.0
    silences_s: list[float] = field(default_factory=list)

    def serve(self) -> None:
        while True:
            readable, _, _ = select.select([self.near, sys.stdin], [], [])
            if sys.stdin in readable:
                return
            begun_s = time.monotonic()
            question = os.read(self.near, 256)
            if self.silent_since_s >= 0.0:
                self.silences_s.append(begun_s - self.silent_since_s)
            while len(question) < QUESTION_BYTES:
                question += os.read(self.near, 256)
            self._answer(question, begun_s + QUESTION_BYTES * self.wire.character_s + self.wire.silence_s)

    def _answer(self, question: bytes, begins_s: float) -> None:
        device_id, code, address, count = struct.unpack_from(">BBHH", question)
        frame = struct.pack(f">BBB{count}H", device_id, code, 2 * count, *range(address, address + count))
        frame += _crc(frame).to_bytes(2, "little")
        for at in range(0, len(frame), PIECE_BYTES):
            piece = frame[at : at + PIECE_BYTES]
            _sleep_until(begins_s + (at + len(piece)) * self.wire.character_s)
            self.silent_since_s = time.monotonic()
            os.write(self.near, piece)

    def report(self) -> str:
        hurried = sum(silence_s < self.wire.silence_s - CLOCK_SLACK_S for silence_s in self.silences_s)
        least_s = min(self.silences_s, default=0.0)
        return json.dumps({"polls": len(self.silences_s), "hurried": hurried, "least_silence_s": least_s})


def _sleep_until(when_s: float) -> None:
    while (left_s := when_s - time.monotonic()) > 0.0:
        time.sleep(left_s)


def _crc(octets: bytes) -> int:
    register = 0xFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register


def main() -> None:
    near, far = pty.openpty()
    tty.setraw(near)
    tty.setraw(far)
    device = TimedDevice(WireTime(int(sys.argv[1])), near)
    print(os.ttyname(far), flush=True)
    device.serve()
    print(device.report(), flush=True)


if __name__ == "__main__":
    main()
