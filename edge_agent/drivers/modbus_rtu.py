"""Driver `modbus_rtu` (shell): an RS-485 line with one master, us."""

from __future__ import annotations

import asyncio

from pymodbus.client import AsyncModbusSerialClient

from contracts.quality import Reason
from edge_agent.configuration import ModbusRtuBusSettings
from edge_agent.device_poll import Answer, ModbusRequest, Request
from edge_agent.drivers.modbus_exchange import ModbusExchange, PacketTrace
from edge_agent.rtu_frame import judge_remains


class ModbusRtuDriver(ModbusExchange):
    """One port. After a failure the line is left alone, so that a late answer is not taken for the next one's."""

    def __init__(self, bus: ModbusRtuBusSettings) -> None:
        def build_client(trace_packet: PacketTrace) -> AsyncModbusSerialClient:
            return AsyncModbusSerialClient(
                bus.port,
                name=bus.bus_id,
                baudrate=bus.baud_rate,
                parity=bus.parity,
                stopbits=bus.stop_bits,
                timeout=bus.timeout_s,
                retries=0,
                reconnect_delay=0,
                trace_packet=trace_packet,
            )

        super().__init__(bus.port, build_client, _judge_remains)
        self._quiet_s = bus.timeout_s / 2.0

    async def exchange(self, request: Request) -> Answer:
        """Reads registers. Raises LineLostError if the port is gone."""
        answer = await super().exchange(request)
        if answer is Reason.NO_ANSWER or answer is Reason.MALFORMED_FRAME:
            await asyncio.sleep(self._quiet_s)
        return answer


def _judge_remains(request: ModbusRequest, heard: bytes) -> Reason:
    return judge_remains(request.device_id, request.function_code, request.count, heard)
