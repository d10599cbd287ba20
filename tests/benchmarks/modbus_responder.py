"""A Modbus TCP server that costs little: answers function code 3 for any unit, with numbers that change at each read.

    python tests/benchmarks/modbus_responder.py PORT TALLY_FILE [--illegal 5,17] [--dead 3,4]

It speaks the wire by hand, so that it is no judge in its own case and takes as little of the two cores as it can.
A question that touches an illegal address gets exception 2; a dead unit is never answered. Register N of a read holds
1000 + N + k, where k counts up to `VARIANTS` with the reads: after a scale of 0.1 no number is whole.

TALLY_FILE holds two u64: questions, and registers that were given. Whoever measures reads it at any time.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import struct
from itertools import cycle
from pathlib import Path
from typing import Final

VARIANTS: Final = 8
TALLY: Final = struct.Struct("<QQ")
_QUESTION: Final = struct.Struct(">HHHBBHH")


class Devices:
    """All units behind one port."""

    def __init__(self, tally: mmap.mmap, illegal: frozenset[int], dead: frozenset[int]) -> None:
        self._tally = tally
        self._illegal = illegal
        self._dead = dead
        self._variants = cycle(range(VARIANTS))
        self._bodies: dict[tuple[int, int, int], bytes] = {}
        self.questions = self.registers = 0

    def answer(self, question: bytes) -> bytes:
        """The frame that answers one question; empty: silence."""
        transaction, _, _, unit, function, address, count = _QUESTION.unpack_from(question)
        self.questions += 1
        if unit in self._dead:
            body = b""
        elif function != 3 or any(address <= at < address + count for at in self._illegal):
            body = struct.pack(">BB", function | 0x80, 1 if function != 3 else 2)
        else:
            self.registers += count
            body = self._body(address, count, next(self._variants))
        TALLY.pack_into(self._tally, 0, self.questions, self.registers)
        return struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body if body else b""

    def _body(self, address: int, count: int, variant: int) -> bytes:
        body = self._bodies.get((address, count, variant))
        if body is None:
            first = 1_000 + address + variant
            body = struct.pack(f">BB{count}H", 3, 2 * count, *range(first, first + count))
            self._bodies[address, count, variant] = body
        return body


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._heard = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        heard = self._heard + data
        assert self._transport is not None
        while len(heard) >= _QUESTION.size:
            answer = self._devices.answer(heard)
            heard = heard[_QUESTION.size :]
            if answer:
                self._transport.write(answer)
        self._heard = heard


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(one) for one in text.split(",") if one)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("tally", type=Path)
    parser.add_argument("--illegal", type=_numbers, default=frozenset())
    parser.add_argument("--dead", type=_numbers, default=frozenset())
    chosen = parser.parse_args()
    with chosen.tally.open("w+b") as file:
        file.write(bytes(TALLY.size))
        file.flush()
        devices = Devices(mmap.mmap(file.fileno(), TALLY.size), chosen.illegal, chosen.dead)
        server = await asyncio.get_running_loop().create_server(lambda: Line(devices), "127.0.0.1", chosen.port)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
