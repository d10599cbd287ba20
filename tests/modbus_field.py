"""A Modbus server of plain sockets (TCP) or on a pseudo-terminal (RTU): what is read from it is set by the test.

It shares no code with the agent's Modbus library. Function codes 1, 3, 4, 5, 6, 15 and 16, and exception 2.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import socket
import struct
import threading
import tty
from dataclasses import dataclass, field


@dataclass
class ModbusField:
    """One endpoint with the devices that are named; others do not answer."""

    port: int
    devices: tuple[int, ...] = (1,)
    registers: dict[int, int] = field(default_factory=dict)
    coils: dict[int, int] = field(default_factory=dict)
    written: list[tuple[int, int, int, tuple[int, ...]]] = field(default_factory=list)
    """(device_id, function_code, address, values) in order."""
    refuses_writes: bool = False

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, args=(self._listener,), daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._open.append(client)
            self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, struct.error):
            while True:
                transaction, _, length, device = struct.unpack(">HHHB", _take(client, 7))
                pdu = _take(client, length - 1)
                if device in self.devices:
                    answer = self._answer(device, pdu)
                    client.sendall(struct.pack(">HHHB", transaction, 0, len(answer) + 1, device) + answer)

    def _answer(self, device: int, pdu: bytes) -> bytes:
        code, address, second = struct.unpack_from(">BHH", pdu)
        wanted = range(address, address + second)
        if code in (3, 4) and all(at in self.registers for at in wanted):
            return struct.pack(f">BB{second}H", code, 2 * second, *(self.registers[at] for at in wanted))
        if code == 1 and all(at in self.coils for at in wanted):
            bits = sum(self.coils[at] << n for n, at in enumerate(wanted))
            size = -(-second // 8)
            return struct.pack("BB", code, size) + bits.to_bytes(size, "little")
        if code in (5, 6, 15, 16) and not self.refuses_writes:
            self._write(device, code, address, second, pdu[6:])
            return pdu[:5]
        return struct.pack("BB", code | 0x80, 2)

    def _write(self, device: int, code: int, address: int, second: int, rest: bytes) -> None:
        if code == 5:
            values: tuple[int, ...] = (int(second == 0xFF00),)
        elif code == 6:
            values = (second,)
        elif code == 15:
            values = tuple(rest[n // 8] >> (n % 8) & 1 for n in range(second))
        else:
            values = struct.unpack(f">{second}H", rest)
        table = self.coils if code in (5, 15) else self.registers
        table.update(enumerate(values, address))
        self.written.append((device, code, address, values))


class RtuField(ModbusField):
    """The same on a pseudo-terminal: `path` is the port. Requests of 8 bytes only: 1, 3, 4, 5 and 6."""

    path = ""

    def start(self) -> None:
        self._near, self._far = pty.openpty()
        tty.setraw(self._far)
        self.path = os.ttyname(self._far)
        self._is_stopping = threading.Event()
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        self._is_stopping.set()
        self._threads[0].join(5)
        os.close(self._near)
        os.close(self._far)

    def _listen(self) -> None:
        heard = b""
        while not self._is_stopping.is_set():
            if not select.select([self._near], [], [], 0.05)[0]:
                heard = b""  # a pause ends a frame
                continue
            heard += os.read(self._near, 256)
            while len(heard) >= 8:
                frame, heard = heard[:8], heard[8:]
                if crc16(frame) == 0 and frame[0] in self.devices:
                    answer = frame[:1] + self._answer(frame[0], frame[1:6])
                    os.write(self._near, answer + crc16(answer).to_bytes(2, "little"))


def crc16(octets: bytes) -> int:
    """Of Modbus over serial line V1.02, 6.2.2; 0 over a frame with its own CRC."""
    register = 0xFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register


def _take(client: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        more = client.recv(count - len(octets))
        if not more:
            raise ConnectionResetError
        octets += more
    return octets
