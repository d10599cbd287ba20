"""Driver `serial_frame` (shell): a serial port, a question, and a declared frame as its answer."""

from __future__ import annotations

import asyncio
import termios

import serial

from contracts.quality import Reason
from edge_agent.configuration import SerialFrameBusSettings
from edge_agent.device_poll import Answer, FrameRequest, Request
from edge_agent.errors import LineLostError
from edge_agent.frame_parser import Frame, FrameParser, Reject

_READ_BYTES = 4096


class SerialFrameDriver:
    """One port, read through the event loop."""

    def __init__(self, bus: SerialFrameBusSettings) -> None:
        self._bus = bus
        self._port: serial.Serial | None = None
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def open(self) -> None:
        """Opens the port. Raises LineLostError."""
        self.close()
        try:
            self._port = serial.Serial(
                self._bus.port,
                baudrate=self._bus.baud_rate,
                parity=self._bus.parity,
                stopbits=self._bus.stop_bits,
                timeout=0,
                write_timeout=self._bus.timeout_s,
                exclusive=True,
            )
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise LineLostError(f"{self._bus.port}: {error}") from error
        self._arrived = asyncio.Queue()
        asyncio.get_running_loop().add_reader(self._port.fileno(), self._read_arrived, self._port, self._arrived)

    def close(self) -> None:
        """Closes the port."""
        port, self._port = self._port, None
        if port is not None:
            asyncio.get_running_loop().remove_reader(port.fileno())
            port.close()

    async def exchange(self, request: Request) -> Answer:
        """Asks, and waits for the first right frame. Raises LineLostError if the port is gone."""
        assert isinstance(request, FrameRequest)
        if self._port is None:
            raise LineLostError(f"{self._bus.port}: the port is closed")
        while not self._arrived.empty():
            if self._arrived.get_nowait() is None:
                raise LineLostError(f"{self._bus.port}: the port is gone")
        try:
            self._port.write(request.question)
        except (serial.SerialException, OSError) as error:
            raise LineLostError(f"{self._bus.port}: {error}") from error
        return await self._await_frame(FrameParser(request.frame_format))

    async def _await_frame(self, parser: FrameParser) -> bytes | Reason:
        rejects: list[Reject] = []
        try:
            async with asyncio.timeout(self._bus.timeout_s):
                while True:
                    octets = await self._arrived.get()
                    if octets is None:
                        raise LineLostError(f"{self._bus.port}: the port is gone")
                    for found in parser.feed(octets):
                        if isinstance(found, Frame):
                            return found.octets
                        rejects.append(found)
        except TimeoutError:
            rejects += parser.finish()
        return judge_rejects(rejects)

    def _read_arrived(self, port: serial.Serial, arrived: asyncio.Queue[bytes | None]) -> None:
        try:
            octets = port.read(_READ_BYTES)
        except (serial.SerialException, OSError):
            octets = b""
        if octets:
            arrived.put_nowait(octets)
            return
        # Readable without bytes: the other side has hung up. Never spin on it.
        asyncio.get_running_loop().remove_reader(port.fileno())
        arrived.put_nowait(None)


def judge_rejects(rejects: list[Reject]) -> Reason:
    """Why no frame came of what was heard: nothing, a wrong checksum, or no frame at all."""
    if not rejects:
        return Reason.NO_ANSWER
    return Reason.CRC_ERROR if any(one.reason is Reason.CRC_ERROR for one in rejects) else Reason.MALFORMED_FRAME
