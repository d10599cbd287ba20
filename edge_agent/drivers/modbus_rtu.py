"""Driver `modbus_rtu` (shell): an RS-485 line with one master, us; RTU or ASCII frames."""

from __future__ import annotations

from edge_agent.drivers.modbus_exchange import ModbusExchange
from edge_agent.drivers.serial_link import SerialLink
from edge_agent.modbus.late_answer import LateAnswerGuard
from edge_agent.modbus.rtu_frame import frame_gap_s
from edge_agent.settings.line_settings import ModbusRtuLineSettings


class ModbusRtuDriver(ModbusExchange):
    """One port."""

    def __init__(self, bus: ModbusRtuLineSettings) -> None:
        gap_s = frame_gap_s(bus.baud_rate) if bus.framing == "rtu" else 0.0
        super().__init__(SerialLink(bus, gap_s), bus.framing, LateAnswerGuard(bus.timeout_s))
