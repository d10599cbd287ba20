"""Serves field buses on pseudo-terminals: a Modbus RTU line, and a Winsen sensor. A shell.

After a pause of 50 ms an unfinished request is dropped. A wire's limit is 3.5 characters (4 ms at 9600 baud), which no
scheduler promises to a process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from simulators.configuration import ModbusRtuSettings, SerialFrameSettings
from simulators.field import FieldBus
from simulators.modbus_frame import encode_rtu, split_rtu
from simulators.pseudo_terminal import PseudoTerminal
from simulators.served_ledger import ServedLedger
from simulators.winsen_frame import split_questions

_PAUSE_S: Final = 0.05
_BITS_PER_BYTE: Final = 11
_REQUEST_BYTES: Final = 8


class _SerialServer:
    """What both kinds share: the port, the buffer, the pause."""

    def __init__(self, bus: FieldBus, link: Path, clock: Callable[[], int], ledger: ServedLedger | None) -> None:
        self.bus = bus
        self._clock = clock
        self._ledger = ledger
        self._buffer = bytearray()
        self._heard_s = 0.0
        self._terminal = PseudoTerminal(link, self._receive)

    @property
    def is_open(self) -> bool:
        """Whether the port is there."""
        return self._terminal.is_open

    @property
    def address(self) -> str:
        """The link to the port."""
        return str(self._terminal.link)

    async def open(self) -> None:
        """Makes the port."""
        self._buffer.clear()
        self._terminal.open()

    async def close(self) -> None:
        """Takes the port away."""
        self._terminal.close()

    def _receive(self, received: bytes) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._heard_s > _PAUSE_S:
            self._buffer.clear()
        self._heard_s = now_s
        self._buffer += received
        self._answer_all()

    def _answer_all(self) -> None:
        raise NotImplementedError


class ModbusRtuServer(_SerialServer):
    """An RS-485 line with all its devices."""

    def __init__(self, bus: FieldBus, link: Path, clock: Callable[[], int], ledger: ServedLedger | None) -> None:
        assert isinstance(bus.settings, ModbusRtuSettings)
        super().__init__(bus, link, clock, ledger)
        self._byte_s = _BITS_PER_BYTE / bus.settings.baud_rate if bus.settings.is_line_time_simulated else 0.0

    def _answer_all(self) -> None:
        for request in split_rtu(self._buffer):
            time_ns = self._clock()
            answer = self.bus.answer_modbus(request, time_ns)
            if answer is None or answer.payload is None:
                continue
            if self._ledger is not None:
                self._ledger.append(time_ns, self.bus.bus_id, request.device_id, answer.served)
            frame = encode_rtu(request.device_id, answer.payload, is_crc_wrong=answer.is_crc_wrong)
            delay_s = self._byte_s * (_REQUEST_BYTES + len(frame))
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._terminal.send, frame)
            else:
                self._terminal.send(frame)


class WinsenServer(_SerialServer):
    """A UART with one Winsen sensor."""

    def __init__(self, bus: FieldBus, link: Path, clock: Callable[[], int], ledger: ServedLedger | None) -> None:
        assert isinstance(bus.settings, SerialFrameSettings)
        super().__init__(bus, link, clock, ledger)

    def _answer_all(self) -> None:
        for command in split_questions(self._buffer):
            time_ns = self._clock()
            answer = self.bus.answer_winsen(command, time_ns)
            if answer.payload is None:
                continue
            if self._ledger is not None:
                self._ledger.append(time_ns, self.bus.bus_id, 0, answer.served)
            self._terminal.send(answer.payload)
