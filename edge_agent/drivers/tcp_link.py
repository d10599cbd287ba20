"""A TCP connection that carries a question and brings the answer (shell)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edge_agent.errors import LineLostError


class TcpLink:
    """One connection at a time."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        """Opens nothing.

        Args:
            host: name or address.
            port: of the server.
            timeout_s: how long connecting, and an answer, may take.
        """
        self.name = f"{host}:{port}"
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None

    async def open(self) -> None:
        """Connects. Raises LineLostError."""
        self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                _, self._connection = await loop.create_connection(_Connection, self._host, self._port)
        except (OSError, TimeoutError) as error:
            raise LineLostError(f"{self.name}: cannot be opened: {error or 'no answer'}") from error

    def close(self) -> None:
        """Disconnects."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def ask(self, question: bytes, find_answer: Callable[[bytes], bytes | None]) -> tuple[bytes | None, bytes]:
        """Sends a question and listens until the answer is there, or the time is over.

        Returns:
            The answer (None: there was none), and all that was heard.

        Raises:
            LineLostError: the connection is gone, and nothing was heard.
        """
        connection = self._connection
        if connection is None or connection.is_lost:
            raise LineLostError(f"{self.name}: the connection is gone")
        answer = await connection.ask(question, find_answer, self._timeout_s)
        if connection.is_lost and not connection.heard:
            raise LineLostError(f"{self.name}: the connection was closed")
        return answer, connection.heard


class _Connection(asyncio.Protocol):
    """What arrives goes to who waits for it."""

    def __init__(self) -> None:
        self.heard = b""
        self.is_lost = False
        self._transport: asyncio.Transport | None = None
        self._find_answer: Callable[[bytes], bytes | None] = lambda _heard: None
        self._answered: asyncio.Future[bytes | None] | None = None

    async def ask(
        self, question: bytes, find_answer: Callable[[bytes], bytes | None], timeout_s: float
    ) -> bytes | None:
        loop = asyncio.get_running_loop()
        assert self._transport is not None
        self.heard = b""
        self._find_answer = find_answer
        self._answered = loop.create_future()
        self._transport.write(question)
        timer = loop.call_later(timeout_s, self._settle, None)
        try:
            return await self._answered
        finally:
            timer.cancel()
            self._answered = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answered is None:  # nobody has asked: an answer that is late
            return
        self.heard += data
        answer = self._find_answer(self.heard)
        if answer is not None:
            self._settle(answer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's shape
        self.is_lost = True
        self._settle(None)

    def _settle(self, answer: bytes | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(answer)
