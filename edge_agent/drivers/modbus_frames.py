"""Modbus frames (shell: pymodbus): a question as bytes, and its answer found in what was heard.

The framers are pymodbus' (MBAP header, CRC-16, LRC); when and how bytes pass is the links' (`tcp_link`, `serial_link`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pymodbus.framer.ascii import FramerAscii
from pymodbus.framer.base import FramerBase
from pymodbus.framer.rtu import FramerRTU
from pymodbus.framer.socket import FramerSocket
from pymodbus.pdu import DecodePDU

from edge_agent.modbus.answer_remains import ModbusQuestion, answer_bytes
from edge_agent.modbus.modbus_pdu import EXCEPTION_BIT
from edge_agent.modbus.modbus_question import encode_question
from edge_agent.modbus.rtu_frame import EXCEPTION_BYTES

TRANSACTIONS: Final = 0xFFFF
_FRAMERS: Final[Mapping[str, type[FramerBase]]] = {"tcp": FramerSocket, "rtu": FramerRTU, "ascii": FramerAscii}


class ModbusFrames:
    """The frames of one line, for one question at a time."""

    def __init__(self, framing: str) -> None:
        """Has asked nothing.

        Args:
            framing: `tcp`, `rtu` or `ascii`.
        """
        self._framer = _FRAMERS[framing](DecodePDU(is_server=False))
        self._framing = framing
        self._transaction = 0
        """Of the question that waits; stays 0 where frames have none."""

    def encode(self, question: ModbusQuestion) -> bytes:
        """The frame of a question; on TCP under the next transaction number."""
        if self._framing == "tcp":
            self._transaction = self._transaction % TRANSACTIONS + 1
        return self._framer.encode(encode_question(question), question.device_id, self._transaction)

    def find_answer(self, question: ModbusQuestion, heard: bytes) -> bytes | None:
        """The PDU of the answer, as soon as it is whole; frames of others and of former questions are passed over."""
        if self._framing == "rtu":
            return _find_rtu_answer(question, heard)
        used = 0
        while used < len(heard):
            try:
                length, device_id, transaction, pdu = self._framer.decode(heard[used:])
            except ValueError:  # ASCII: no hexadecimal digits
                return None
            if not length or not pdu:
                return None
            used += length
            if device_id == question.device_id and transaction in {0, self._transaction}:
                return pdu
        return None


def _find_rtu_answer(question: ModbusQuestion, heard: bytes) -> bytes | None:
    """An answer of the length that the question calls for, or an exception, wherever it begins.

    RTU frames have no mark at their beginning, and line drivers that turn round, or echo the question, put bytes before
    the answer: what has the right beginning, length and checksum is the answer.
    """
    code = question.function_code
    for at in range(len(heard) - EXCEPTION_BYTES + 1):
        if heard[at] != question.device_id or heard[at + 1] & ~EXCEPTION_BIT != code:
            continue
        length = EXCEPTION_BYTES if heard[at + 1] & EXCEPTION_BIT else answer_bytes(question)
        frame = heard[at : at + length]
        if len(frame) == length and FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:])):
            return frame[1:-2]
    return None
