"""Driver `tcp` of listening buses (shell): a TCP server with few, patient connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from edge_agent.errors import LineLostError
from edge_agent.lines.listen_bus import Converse
from edge_agent.lines.listen_configuration import TcpEndpointSettings
from edge_agent.lines.note_limit import NoteLimit

READ_BYTES: Final = 4096
WRITE_PATIENCE_S: Final = 5.0
"""Whoever does not take an answer for so long is gone."""
BACKLOG: Final = 16

_log = logging.getLogger(__name__)


class TcpLine:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        host, port, *_ = writer.get_extra_info("peername") or ("unknown", 0)
        self.peer = f"{host}:{port}"

    async def read(self) -> bytes:
        """The next bytes; none if the other side has hung up."""
        try:
            return await self._reader.read(READ_BYTES)
        except OSError:
            return b""

    async def write(self, octets: bytes) -> None:
        """Sends. Raises LineLostError."""
        try:
            self._writer.write(octets)
            async with asyncio.timeout(WRITE_PATIENCE_S):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise LineLostError(f"{self.peer}: takes no answer: {error!r}") from error

    def close(self) -> None:
        """Closes the connection, whatever was not taken yet."""
        self._writer.transport.abort()


class TcpListener:
    """The server."""

    def __init__(self, endpoint: TcpEndpointSettings) -> None:
        self._endpoint = endpoint
        self.frame_pause_s = endpoint.frame_pause_s
        self.idle_s: float | None = endpoint.idle_s
        self._lines: set[asyncio.Task[None]] = set()
        self._limit = NoteLimit()

    async def serve(self, converse: Converse, opened: Callable[[], None]) -> None:
        """Until cancelled. Raises LineLostError if the address cannot be listened at."""
        host, port = self._endpoint.host, self._endpoint.port

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._accept(TcpLine(reader, writer), converse)

        try:
            server = await asyncio.start_server(accept, host, port, limit=READ_BYTES, backlog=BACKLOG)
        except OSError as error:
            raise LineLostError(f"{host}:{port}: cannot be listened at: {error}") from error
        opened()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            for line in self._lines:
                line.cancel()
            await asyncio.gather(*self._lines, return_exceptions=True)

    async def _accept(self, line: TcpLine, converse: Converse) -> None:
        if len(self._lines) >= self._endpoint.connections_max:
            line.close()
            passed_over = self._limit.admit("connection_refused", time.monotonic())
            if passed_over is not None:
                limit = self._endpoint.connections_max
                _log.warning("connection_refused peer=%s limit=%d passed_over=%d", line.peer, limit, passed_over)
            return
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the server stops: the connection ends, in order
                await converse(line)
        finally:
            self._lines.discard(task)
            line.close()
