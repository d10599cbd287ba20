"""Serves a field bus over Modbus TCP. A shell: one listener, any number of clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from simulators.configuration import ModbusTcpSettings
from simulators.errors import FrameError
from simulators.field import FieldBus
from simulators.modbus_frame import Request, encode_mbap, split_mbap
from simulators.served_ledger import ServedLedger

_logger = logging.getLogger(__name__)
_GATEWAY_TARGET_FAILED = 0x0B
"""Modbus exception of a TCP gateway for a device id that nobody answers to."""


class ModbusTcpServer:
    """The listener of one bus; can be closed and opened again on the same port."""

    def __init__(self, bus: FieldBus, clock: Callable[[], int], ledger: ServedLedger | None) -> None:
        assert isinstance(bus.settings, ModbusTcpSettings)
        self.bus = bus
        self._host = bus.settings.host
        self._port = bus.settings.port
        self._clock = clock
        self._ledger = ledger
        self._server: asyncio.Server | None = None
        self.transports: set[asyncio.Transport] = set()

    @property
    def is_open(self) -> bool:
        """Whether clients can connect."""
        return self._server is not None

    @property
    def address(self) -> str:
        """`host:port`, with the real port once it was open."""
        return f"{self._host}:{self._port}"

    async def open(self) -> None:
        """Listens."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening and cuts all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for transport in tuple(self.transports):
            transport.abort()

    def answer(self, request: Request) -> bytes | None:
        """The frame that answers a request; None for silence."""
        time_ns = self._clock()
        answer = self.bus.answer_modbus(request, time_ns)
        if answer is None:
            return encode_mbap(request, bytes((request.pdu[0] | 0x80, _GATEWAY_TARGET_FAILED)))
        if answer.payload is None:
            return None
        if self._ledger is not None:
            self._ledger.append(time_ns, self.bus.bus_id, request.device_id, answer.served)
        return encode_mbap(request, answer.payload)


class _Connection(asyncio.Protocol):
    def __init__(self, server: ModbusTcpServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.transports.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the protocol's signature
        if self._transport is not None:
            self._server.transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        try:
            requests = split_mbap(self._buffer)
        except FrameError as error:
            _logger.warning("connection_closed bus=%s reason=%r", self._server.bus.bus_id, str(error))
            self._transport.close()
            return
        answers = (self._server.answer(request) for request in requests)
        self._transport.write(b"".join(answer for answer in answers if answer is not None))
