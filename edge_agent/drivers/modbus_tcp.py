"""Driver `modbus_tcp` (shell): a Modbus TCP endpoint, with many device ids behind it if it is a gateway.

With `framing` rtu or ascii it is a converter that passes a serial line's frames through: then what holds for that
line holds here (no transaction numbers, checksums of its own).
"""

from __future__ import annotations

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.framer import FramerType

from edge_agent.drivers.modbus_exchange import ModbusExchange, PacketTrace
from edge_agent.modbus.answer_remains import REMAINS_JUDGES
from edge_agent.modbus.late_answer import LateAnswerGuard
from edge_agent.settings.configuration import ModbusTcpBusSettings

_FRAMERS = {"tcp": FramerType.SOCKET, "rtu": FramerType.RTU, "ascii": FramerType.ASCII}


class ModbusTcpDriver(ModbusExchange):
    """One connection."""

    def __init__(self, bus: ModbusTcpBusSettings) -> None:
        def build_client(trace_packet: PacketTrace) -> AsyncModbusTcpClient:
            return AsyncModbusTcpClient(
                bus.host,
                framer=_FRAMERS[bus.framing],
                port=bus.port,
                name=bus.bus_id,
                timeout=bus.timeout_s,
                retries=0,
                reconnect_delay=0,
                trace_packet=trace_packet,
            )

        guard = None if bus.framing == "tcp" else LateAnswerGuard(bus.timeout_s)
        super().__init__(f"{bus.host}:{bus.port}", build_client, REMAINS_JUDGES[bus.framing], guard)
