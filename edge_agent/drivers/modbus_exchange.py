"""What both Modbus drivers share (shell): a pymodbus client, one request, one answer.

pymodbus retries nothing here (retries=0) and reconnects nothing: `poll_bus` decides both. It drops frames with a
wrong checksum silently and then times out; the bytes that it saw are kept, and `judge_remains` tells from them
whether there was silence, a corrupt frame, or something that is no frame.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Sequence

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException, ModbusIOException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, ReadInputRegistersResponse

from contracts.quality import Reason, reason_of_modbus_exception
from edge_agent.errors import LineLostError
from edge_agent.lines.device_poll import Answer, ModbusRequest, ModbusWrite, Request
from edge_agent.modbus.answer_remains import ModbusQuestion
from edge_agent.modbus.late_answer import LateAnswerGuard
from edge_agent.modbus.modbus_write import WRITE_MULTIPLE_COILS, WRITE_SINGLE_COIL, WRITE_SINGLE_REGISTER
from edge_agent.modbus.register_field import BIT_FUNCTION_CODES

Client = AsyncModbusTcpClient | AsyncModbusSerialClient
PacketTrace = Callable[[bool, bytes], bytes]
ClientFactory = Callable[[PacketTrace], Client]
RemainsJudge = Callable[[ModbusQuestion, bytes], Reason]

_FRAGMENTS = frozenset({Reason.NO_ANSWER, Reason.MALFORMED_FRAME})
"""After these the answer, or the rest of it, may still be on its way."""


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

    def __init__(
        self,
        name: str,
        build_client: ClientFactory,
        judge_remains: RemainsJudge,
        guard: LateAnswerGuard | None,
        frame_gap_s: float = 0.0,
    ) -> None:
        """Keeps what is needed to connect; opens nothing.

        Args:
            name: of the line, for errors.
            build_client: makes a pymodbus client that reports its packets.
            judge_remains: what the bytes heard before a timeout mean.
            guard: keeps late answers apart, where frames have no transaction numbers.
            frame_gap_s: silence that must stand between two frames.
        """
        self._name = name
        self._build_client = build_client
        self._judge_remains = judge_remains
        self._guard = guard
        self._frame_gap_s = frame_gap_s
        self._free_from_s = 0.0
        """When the line has been silent for long enough."""
        self._client: Client | None = None
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
        """Reads, or writes (the answer is then empty). Raises LineLostError if the connection is gone."""
        assert isinstance(request, ModbusRequest | ModbusWrite)
        if self._guard is None:
            return await self._ask(request)
        now_s = time.monotonic()
        wait_s = max(self._guard.wait_s(request.device_id, now_s), self._free_from_s - now_s)
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)
        answer = await self._ask(request)
        is_heard = not isinstance(answer, Reason) or answer not in _FRAGMENTS
        rest_s = self._guard.note(request.device_id, is_heard, time.monotonic())
        if rest_s:
            await asyncio.sleep(rest_s)
        return answer

    async def _ask(self, request: ModbusQuestion) -> Answer:
        client = self._client
        if client is None or not client.connected:
            raise LineLostError(f"{self._name}: the connection is gone")
        self._heard = self._shown = b""
        try:
            pdu = await _send(client, request)
        except (ModbusException, OSError, asyncio.CancelledError) as error:
            return self._judge_failure(request, error)
        if pdu.isError():
            return reason_of_modbus_exception(pdu.exception_code)
        answer = _echo_of(pdu, request) if isinstance(request, ModbusWrite) else _numbers_of(pdu, request)
        return Reason.MALFORMED_FRAME if answer is None else answer

    def _judge_failure(self, request: ModbusQuestion, error: BaseException) -> Reason:
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
            self._free_from_s = time.monotonic() + self._frame_gap_s
            if not packet.startswith(self._shown):
                self._heard += self._shown
            self._shown = packet
        return packet


def unpack_registers(octets: bytes) -> list[int]:
    """Registers behind their byte count. Raises ModbusIOException if the two do not fit."""
    if not octets or octets[0] % 2 or octets[0] != len(octets) - 1:
        raise ModbusIOException(f"a byte count of {octets[:1].hex()} before {len(octets) - 1} bytes")
    return list(struct.unpack_from(f">{octets[0] // 2}H", octets, 1))


async def _send(client: Client, request: ModbusQuestion) -> ModbusPDU:
    """Puts the question in pymodbus' words."""
    address, device_id = request.address, request.device_id
    if isinstance(request, ModbusRequest):
        read = (
            client.read_coils,
            client.read_discrete_inputs,
            client.read_holding_registers,
            client.read_input_registers,
        )[request.function_code - 1]
        return await read(address, count=request.count, device_id=device_id)
    values = request.values
    if request.function_code == WRITE_SINGLE_COIL:
        return await client.write_coil(address, bool(values[0]), device_id=device_id)
    if request.function_code == WRITE_SINGLE_REGISTER:
        return await client.write_register(address, values[0], device_id=device_id)
    if request.function_code == WRITE_MULTIPLE_COILS:
        return await client.write_coils(address, [bool(one) for one in values], device_id=device_id)
    return await client.write_registers(address, list(values), device_id=device_id)


def _numbers_of(pdu: ModbusPDU, request: ModbusRequest) -> Sequence[int] | None:
    """Registers or bits, if they are as many as were asked for."""
    if pdu.function_code != request.function_code:
        return None
    if request.function_code in BIT_FUNCTION_CODES:
        bits: Sequence[bool] = pdu.bits
        return [int(bit) for bit in bits[: request.count]] if len(bits) == -(-request.count // 8) * 8 else None
    registers: Sequence[int] = pdu.registers
    return registers if len(registers) == request.count else None


def _echo_of(pdu: ModbusPDU, request: ModbusWrite) -> Sequence[int] | None:
    """Nothing, if the device confirms what was written; the standard has it repeat address and value or count."""
    if pdu.function_code != request.function_code or pdu.address != request.address:
        return None
    if request.function_code == WRITE_SINGLE_COIL:
        return () if bool(pdu.bits[0]) == bool(request.values[0]) else None
    if request.function_code == WRITE_SINGLE_REGISTER:
        return () if pdu.registers[0] == request.values[0] else None
    return () if pdu.count == len(request.values) else None
