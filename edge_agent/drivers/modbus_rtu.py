"""Driver `modbus_rtu` (shell): an RS-485 line with one master, us; RTU or ASCII frames."""

from __future__ import annotations

from pymodbus.client import AsyncModbusSerialClient
from pymodbus.framer import FramerType

from edge_agent.drivers.modbus_exchange import ModbusExchange, PacketTrace
from edge_agent.modbus.answer_remains import REMAINS_JUDGES
from edge_agent.modbus.late_answer import LateAnswerGuard
from edge_agent.modbus.rtu_frame import frame_gap_s
from edge_agent.settings.configuration import ModbusRtuBusSettings


class ModbusRtuDriver(ModbusExchange):
    """One port."""

    def __init__(self, bus: ModbusRtuBusSettings) -> None:
        def build_client(trace_packet: PacketTrace) -> AsyncModbusSerialClient:
            return AsyncModbusSerialClient(
                bus.port,
                framer=FramerType(bus.framing),
                name=bus.bus_id,
                baudrate=bus.baud_rate,
                bytesize=bus.data_bits,
                parity=bus.parity,
                stopbits=bus.stop_bits,
                timeout=bus.timeout_s,
                retries=0,
                reconnect_delay=0,
                trace_packet=trace_packet,
            )

        gap_s = frame_gap_s(bus.baud_rate) if bus.framing == "rtu" else 0.0
        super().__init__(bus.port, build_client, REMAINS_JUDGES[bus.framing], LateAnswerGuard(bus.timeout_s), gap_s)
