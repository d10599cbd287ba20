"""A Modbus TCP server that costs little: answers function code 3 for any unit with registers that change at each read.

Usage: python tests/benchmarks/modbus_responder.py PORT. It speaks the wire by hand, so that it is no judge in its own
case and takes as little of the two cores as it can.
"""

from __future__ import annotations

import asyncio
import struct
import sys

NO_EVENT = 0x0400
"""Notifier gateway: bit 10, enabled; nothing active."""


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            header = await reader.readexactly(7)
            transaction, _, length, unit = struct.unpack(">HHHB", header)
            function, _, quantity = struct.unpack(">BHH", await reader.readexactly(length - 1))
            registers = struct.pack(">H", NO_EVENT) * quantity
            answer = struct.pack(">HHHBBB", transaction, 0, 3 + len(registers), unit, function, len(registers))
            writer.write(answer + registers)
    except asyncio.IncompleteReadError:
        writer.close()


async def main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
