"""What is asked of a Modbus server, as a PDU, and what its answer says. Pure.

    1, 2, 3, 4    function code · address · count
    5             function code · address · 0xFF00 (on) or 0
    6             function code · address · register
    15            function code · address · count · byte count · bits, the first in the lowest
    16            function code · address · count · byte count · registers

Source: MODBUS Application Protocol V1.1b3, section 6.
"""

from __future__ import annotations

import struct
from typing import Final

from contracts.quality import Reason, reason_of_modbus_exception
from edge_agent.lines.poll_step import Answer, ModbusRequest
from edge_agent.modbus.modbus_pdu import EXCEPTION_BIT, Question, is_echo_of, parse_numbers
from edge_agent.modbus.modbus_write import (
    WRITE_MULTIPLE_COILS,
    WRITE_MULTIPLE_REGISTERS,
    WRITE_SINGLE_COIL,
    ModbusWrite,
)
from edge_agent.modbus.register_field import BIT_FUNCTION_CODES

COIL_ON: Final = 0xFF00
"""What function 5 writes to switch on; 0 switches off."""


def encode_question(question: ModbusRequest | ModbusWrite) -> bytes:
    """The PDU of a question."""
    code, address = question.function_code, question.address
    if isinstance(question, ModbusRequest):
        return struct.pack(">BHH", code, address, question.count)
    values, count = question.values, len(question.values)
    if code == WRITE_MULTIPLE_COILS:
        size = -(-count // 8)
        bits = sum(bool(value) << at for at, value in enumerate(values))
        return struct.pack(">BHHB", code, address, count, size) + bits.to_bytes(size, "little")
    if code == WRITE_MULTIPLE_REGISTERS:
        return struct.pack(f">BHHB{count}H", code, address, count, 2 * count, *values)
    return struct.pack(">BHH", code, address, _single_value(question))


def read_answer(question: ModbusRequest | ModbusWrite, pdu: bytes) -> Answer:
    """What an answer says: registers or bits, nothing after a write, or the reason why not.

    An answer with another function code, another length or another echo than the question calls for is malformed.
    """
    if len(pdu) >= 2 and pdu[0] & EXCEPTION_BIT:
        return reason_of_modbus_exception(pdu[1])
    if isinstance(question, ModbusWrite):
        asked = Question(question.function_code, question.address, len(question.values), (_single_value(question),))
        return () if is_echo_of(pdu, asked) else Reason.MALFORMED_FRAME
    if pdu[:1] != bytes([question.function_code]):
        return Reason.MALFORMED_FRAME
    if question.function_code not in BIT_FUNCTION_CODES and len(pdu) == 2 + 2 * question.count == 2 + pdu[1]:
        return list(struct.unpack_from(f">{question.count}H", pdu, 2))
    numbers = parse_numbers(pdu, Question(question.function_code, question.address, question.count))
    return Reason.MALFORMED_FRAME if numbers is None else list(numbers)


def _single_value(write: ModbusWrite) -> int:
    """What functions 5 and 6 carry."""
    value = write.values[0]
    return COIL_ON * bool(value) if write.function_code == WRITE_SINGLE_COIL else value
