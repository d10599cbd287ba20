"""What was heard of a Modbus answer that never became one, by the way the line frames its messages. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from contracts.quality import Reason
from edge_agent.lines.poll_step import ModbusRequest
from edge_agent.modbus.modbus_write import ModbusWrite
from edge_agent.modbus.register_field import BIT_FUNCTION_CODES
from edge_agent.modbus.rtu_frame import READ_OVERHEAD_BYTES, judge_remains

ModbusQuestion = ModbusRequest | ModbusWrite
WRITE_ANSWER_BYTES: Final = 8
"""Of an RTU answer to function 5, 6, 15 or 16: device id, function code, address, value or count, CRC."""


def answer_bytes(question: ModbusQuestion) -> int:
    """How long the RTU frame of a right answer is."""
    if isinstance(question, ModbusWrite):
        return WRITE_ANSWER_BYTES
    if question.function_code in BIT_FUNCTION_CODES:
        return READ_OVERHEAD_BYTES + -(-question.count // 8)
    return READ_OVERHEAD_BYTES + 2 * question.count


def judge_rtu_remains(question: ModbusQuestion, heard: bytes) -> Reason:
    """RTU: silence, a wrong CRC, or no frame."""
    return judge_remains(question.device_id, question.function_code, answer_bytes(question), heard)


def judge_ascii_remains(question: ModbusQuestion, heard: bytes) -> Reason:
    """ASCII (MODBUS over Serial Line V1.02, 2.5.2): a whole line of hex that sums to something else than 0 is corrupt.

    The LRC makes the sum of all bytes of a frame, itself included, 0 modulo 256.
    """
    if not heard:
        return Reason.NO_ANSWER
    _, colon, line = heard.rpartition(b":")
    text, end, _ = line.partition(b"\r\n")
    if colon and end:
        try:
            octets = bytes.fromhex(text.decode("ascii"))
        except ValueError:
            return Reason.MALFORMED_FRAME
        is_answer = len(octets) == answer_bytes(question) - 1
        return Reason.CRC_ERROR if is_answer and sum(octets) % 256 else Reason.MALFORMED_FRAME
    return Reason.MALFORMED_FRAME


def judge_tcp_remains(question: ModbusQuestion, heard: bytes) -> Reason:  # noqa: ARG001  # one shape for all
    """TCP has checksums of its own: what was heard and is no answer is malformed."""
    return Reason.MALFORMED_FRAME if heard else Reason.NO_ANSWER


REMAINS_JUDGES: Final[Mapping[str, Callable[[ModbusQuestion, bytes], Reason]]] = MappingProxyType(
    {"tcp": judge_tcp_remains, "rtu": judge_rtu_remains, "ascii": judge_ascii_remains}
)
"""By the bus's framing."""
