"""Driver `modbus_tcp` (shell): a Modbus TCP endpoint, with many device ids behind it if it is a gateway.

With `framing` rtu or ascii it is a converter that passes a serial line's frames through: then what holds for that
line holds here (no transaction numbers, checksums of its own).
"""

from __future__ import annotations

from edge_agent.drivers.modbus_exchange import ModbusExchange
from edge_agent.drivers.tcp_link import TcpLink
from edge_agent.modbus.late_answer import LateAnswerGuard
from edge_agent.settings.line_settings import ModbusTcpLineSettings


class ModbusTcpDriver(ModbusExchange):
    """One connection."""

    def __init__(self, bus: ModbusTcpLineSettings) -> None:
        guard = None if bus.framing == "tcp" else LateAnswerGuard(bus.timeout_s)
        super().__init__(TcpLink(bus.host, bus.port, bus.timeout_s), bus.framing, guard)
