"""Driver `serial_frame` (shell): a serial port, a question if the sensor wants one, and declared frames as answer."""

from __future__ import annotations

import asyncio
import contextlib
import termios

import serial

from contracts.quality import Reason
from edge_agent.errors import LineLostError
from edge_agent.frames.frame_answer import AnswerWatch
from edge_agent.lines.device_poll import Answer, FrameRequest, Request
from edge_agent.settings.line_settings import SerialFrameLineSettings

_READ_BYTES = 4096


class SerialFrameDriver:
    """One port, read through the event loop."""

    def __init__(self, bus: SerialFrameLineSettings) -> None:
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
        """Asks, and listens until the answer is whole or the time is over. Raises LineLostError if the port is gone."""
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
        return await self._listen(AnswerWatch(request.profile)) or Reason.NO_ANSWER

    async def _listen(self, watch: AnswerWatch) -> bytes:
        heard = bytearray()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._bus.timeout_s):
                while True:
                    octets = await self._arrived.get()
                    if octets is None:
                        raise LineLostError(f"{self._bus.port}: the port is gone")
                    heard += octets
                    if watch.feed(octets):
                        break
        return bytes(heard)

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
