"""Questions and answers as the standard prints them (MODBUS Application Protocol V1.1b3, the examples of section 6)."""

from __future__ import annotations

import pytest

from contracts.quality import Reason
from edge_agent.lines.poll_step import ModbusRequest
from edge_agent.modbus.modbus_question import encode_question, read_answer
from edge_agent.modbus.modbus_write import ModbusWrite

READ_COILS = ModbusRequest(1, 1, 0x13, 19)
READ_REGISTERS = ModbusRequest(1, 3, 0x6B, 3)
WRITE_COIL = ModbusWrite(1, 5, 0xAC, (1,))
WRITE_REGISTER = ModbusWrite(1, 6, 1, (3,))
WRITE_COILS = ModbusWrite(1, 15, 0x13, (1, 0, 1, 1, 0, 0, 1, 1, 1, 0))
WRITE_REGISTERS = ModbusWrite(1, 16, 1, (0x000A, 0x0102))


@pytest.mark.parametrize(
    ("question", "pdu_hex", "answer_hex", "expected"),
    [
        (READ_COILS, "01 0013 0013", "01 03 CD6B05", [1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1]),
        (READ_REGISTERS, "03 006B 0003", "03 06 022B 0000 0064", [555, 0, 100]),
        (ModbusRequest(1, 4, 8, 1), "04 0008 0001", "04 02 000A", [10]),
        (WRITE_COIL, "05 00AC FF00", "05 00AC FF00", ()),
        (ModbusWrite(1, 5, 0xAC, (0,)), "05 00AC 0000", "05 00AC 0000", ()),
        (WRITE_REGISTER, "06 0001 0003", "06 0001 0003", ()),
        (WRITE_COILS, "0F 0013 000A 02 CD01", "0F 0013 000A", ()),
        (WRITE_REGISTERS, "10 0001 0002 04 000A 0102", "10 0001 0002", ()),
    ],
)
def test_the_standards_examples(question, pdu_hex, answer_hex, expected):
    assert encode_question(question) == bytes.fromhex(pdu_hex)
    assert read_answer(question, bytes.fromhex(answer_hex)) == expected


@pytest.mark.parametrize(
    ("question", "answer_hex", "expected"),
    [
        (READ_REGISTERS, "83 02", Reason.MODBUS_ILLEGAL_ADDRESS),
        (WRITE_REGISTERS, "90 06", Reason.MODBUS_DEVICE_BUSY),
        (READ_REGISTERS, "03 04 022B 0000", Reason.MALFORMED_FRAME),  # two registers for three
        (READ_REGISTERS, "03 06 022B 0000", Reason.MALFORMED_FRAME),  # a byte count without its bytes
        (READ_REGISTERS, "04 06 022B 0000 0064", Reason.MALFORMED_FRAME),  # another function
        (READ_COILS, "01 02 CD6B", Reason.MALFORMED_FRAME),
        (WRITE_COIL, "05 00AC 0000", Reason.MALFORMED_FRAME),  # off, where on was asked for
        (WRITE_REGISTER, "06 0002 0003", Reason.MALFORMED_FRAME),
        (WRITE_REGISTERS, "10 0001 0003", Reason.MALFORMED_FRAME),
        (READ_REGISTERS, "", Reason.MALFORMED_FRAME),
        (READ_REGISTERS, "03", Reason.MALFORMED_FRAME),
    ],
)
def test_what_is_no_answer_to_the_question_is_told_from_values(question, answer_hex, expected):
    assert read_answer(question, bytes.fromhex(answer_hex)) is expected
