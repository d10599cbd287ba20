"""Driver `serial` of listening buses (shell): a serial port with one station that speaks when it wants to."""

from __future__ import annotations

import asyncio
import termios
from collections.abc import Callable
from typing import Final

import serial

from edge_agent.errors import LineLostError
from edge_agent.lines.listen_bus import Converse
from edge_agent.lines.listen_configuration import SerialEndpointSettings

READ_BYTES: Final = 4096
WRITE_PATIENCE_S: Final = 1.0


class SerialLine:
    """The open port."""

    def __init__(self, port: serial.Serial) -> None:
        self._port = port
        self.peer = str(port.port)

    async def read(self) -> bytes:
        """The next bytes; none if the port is gone."""
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(self._port.fileno(), _settle, readable)
        try:
            await readable
        finally:
            loop.remove_reader(self._port.fileno())
        try:
            return bytes(self._port.read(READ_BYTES))
        except (serial.SerialException, OSError):
            return b""

    async def write(self, octets: bytes) -> None:
        """Sends. Raises LineLostError."""
        try:
            self._port.write(octets)
        except (serial.SerialException, OSError) as error:
            raise LineLostError(f"{self.peer}: {error}") from error


class SerialListener:
    """The port, opened."""

    idle_s: float | None = None
    """A silent station on a wire is told by its silence; the port stays open."""

    def __init__(self, endpoint: SerialEndpointSettings) -> None:
        self._endpoint = endpoint
        self.frame_pause_s = endpoint.frame_pause_s

    async def serve(self, converse: Converse, opened: Callable[[], None]) -> None:
        """Until cancelled. Raises LineLostError if the port cannot be opened, or is gone."""
        endpoint = self._endpoint
        try:
            port = serial.Serial(
                endpoint.port,
                baudrate=endpoint.baud_rate,
                parity=endpoint.parity,
                stopbits=endpoint.stop_bits,
                timeout=0,
                write_timeout=WRITE_PATIENCE_S,
                exclusive=True,
            )
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise LineLostError(f"{endpoint.port}: {error}") from error
        try:
            opened()
            await converse(SerialLine(port))
        finally:
            port.close()
        raise LineLostError(f"{endpoint.port}: the port is gone")


def _settle(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
