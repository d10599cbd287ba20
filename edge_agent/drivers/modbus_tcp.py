"""Driver `modbus_tcp` (shell): a Modbus TCP endpoint, with many device ids behind it if it is a gateway."""

from __future__ import annotations

from pymodbus.client import AsyncModbusTcpClient

from contracts.quality import Reason
from edge_agent.configuration import ModbusTcpBusSettings
from edge_agent.device_poll import ModbusRequest
from edge_agent.drivers.modbus_exchange import ModbusExchange, PacketTrace


class ModbusTcpDriver(ModbusExchange):
    """One connection; TCP has its own checksums, so what was heard and is no answer is malformed."""

    def __init__(self, bus: ModbusTcpBusSettings) -> None:
        def build_client(trace_packet: PacketTrace) -> AsyncModbusTcpClient:
            return AsyncModbusTcpClient(
                bus.host,
                port=bus.port,
                name=bus.bus_id,
                timeout=bus.timeout_s,
                retries=0,
                reconnect_delay=0,
                trace_packet=trace_packet,
            )

        super().__init__(f"{bus.host}:{bus.port}", build_client, _judge_remains)


def _judge_remains(_request: ModbusRequest, _heard: bytes) -> Reason:
    return Reason.MALFORMED_FRAME
