"""What both Modbus drivers share (shell): a pymodbus client, one request, one answer.

pymodbus retries nothing here (retries=0) and reconnects nothing: `poll_bus` decides both. It drops frames with a
wrong checksum silently and then times out; the bytes that it saw are kept, and `judge_remains` tells from them
whether there was silence, a corrupt frame, or something that is no frame.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException, ModbusIOException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, ReadInputRegistersResponse

from contracts.quality import Reason, reason_of_modbus_exception
from edge_agent.device_poll import Answer, ModbusRequest, Request
from edge_agent.errors import LineLostError

PacketTrace = Callable[[bool, bytes], bytes]
ClientFactory = Callable[[PacketTrace], AsyncModbusTcpClient | AsyncModbusSerialClient]
RemainsJudge = Callable[[ModbusRequest, bytes], Reason]


class _HoldingRegisters(ReadHoldingRegistersResponse):
    """Function 3, unpacked at once rather than register by register."""

    def decode(self, data: bytes) -> None:
        """Takes byte count and registers."""
        self.registers = unpack_registers(data)


class _InputRegisters(ReadInputRegistersResponse):
    """Function 4, likewise."""

    def decode(self, data: bytes) -> None:
        """Takes byte count and registers."""
        self.registers = unpack_registers(data)


class ModbusExchange:
    """A Modbus client that gives answers or reasons."""

    def __init__(self, name: str, build_client: ClientFactory, judge_remains: RemainsJudge) -> None:
        """Keeps what is needed to connect; opens nothing.

        Args:
            name: of the line, for errors.
            build_client: makes a pymodbus client that reports its packets.
            judge_remains: what the bytes heard before a timeout mean.
        """
        self._name = name
        self._build_client = build_client
        self._judge_remains = judge_remains
        self._client: AsyncModbusTcpClient | AsyncModbusSerialClient | None = None
        self._heard = b""
        self._shown = b""

    async def open(self) -> None:
        """Connects. Raises LineLostError."""
        self.close()
        client = self._build_client(self._trace_packet)
        try:
            is_connected = await client.connect()
        except (OSError, ModbusException, TimeoutError) as error:
            client.close()
            raise LineLostError(f"{self._name}: {error}") from error
        if not is_connected:
            client.close()
            raise LineLostError(f"{self._name}: cannot be opened")
        client.register(_HoldingRegisters)
        client.register(_InputRegisters)
        self._client = client

    def close(self) -> None:
        """Disconnects."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def exchange(self, request: Request) -> Answer:
        """Reads registers. Raises LineLostError if the connection is gone."""
        assert isinstance(request, ModbusRequest)
        client = self._client
        if client is None or not client.connected:
            raise LineLostError(f"{self._name}: the connection is gone")
        self._heard = self._shown = b""
        read = client.read_holding_registers if request.function_code == 3 else client.read_input_registers
        try:
            pdu = await read(request.address, count=request.count, device_id=request.device_id)
        except (ModbusException, OSError, asyncio.CancelledError) as error:
            return self._judge_failure(request, error)
        return _answer_of(pdu, request)

    def _judge_failure(self, request: ModbusRequest, error: BaseException) -> Reason:
        """Silence, a corrupt frame, or a lost line."""
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise error
        assert self._client is not None
        heard = self._heard + self._shown
        if heard:
            return self._judge_remains(request, heard)
        if not self._client.connected or isinstance(error, OSError | asyncio.CancelledError):
            raise LineLostError(f"{self._name}: {error}") from error
        return Reason.NO_ANSWER

    def _trace_packet(self, is_sending: bool, packet: bytes) -> bytes:
        """Keeps what was heard: pymodbus shows all bytes that it has not yet used up, again and again as more come."""
        if not is_sending:
            if not packet.startswith(self._shown):
                self._heard += self._shown
            self._shown = packet
        return packet


def unpack_registers(octets: bytes) -> list[int]:
    """Registers behind their byte count. Raises ModbusIOException if the two do not fit."""
    if not octets or octets[0] % 2 or octets[0] != len(octets) - 1:
        raise ModbusIOException(f"a byte count of {octets[:1].hex()} before {len(octets) - 1} bytes")
    return list(struct.unpack_from(f">{octets[0] // 2}H", octets, 1))


def _answer_of(pdu: ModbusPDU, request: ModbusRequest) -> Sequence[int] | Reason:
    if pdu.isError():
        return reason_of_modbus_exception(pdu.exception_code)
    registers: Sequence[int] = pdu.registers
    is_what_was_asked = pdu.function_code == request.function_code and len(registers) == request.count
    return registers if is_what_was_asked else Reason.MALFORMED_FRAME
