"""What both Modbus drivers share (shell): one question over a link, one answer or the reason why there is none.

Nothing is repeated and nothing reconnected here: `poll_bus` decides both. A frame with a wrong checksum is no answer;
when the time is over, `judge_remains` tells from the bytes that were heard whether there was silence, a corrupt frame,
or something that is no frame.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from contracts.quality import Reason
from edge_agent.drivers.modbus_frames import ModbusFrames
from edge_agent.lines.device_poll import Answer, ModbusRequest, ModbusWrite, Request
from edge_agent.modbus.answer_remains import REMAINS_JUDGES, ModbusQuestion
from edge_agent.modbus.late_answer import LateAnswerGuard
from edge_agent.modbus.modbus_question import read_answer

_FRAGMENTS = frozenset({Reason.NO_ANSWER, Reason.MALFORMED_FRAME})
"""After these the answer, or the rest of it, may still be on its way."""


class Link(Protocol):
    """What carries bytes."""

    async def open(self) -> None:
        """Raises LineLostError."""

    def close(self) -> None:
        """Harmless if it is closed already."""

    async def ask(self, question: bytes, find_answer: Callable[[bytes], bytes | None]) -> tuple[bytes | None, bytes]:
        """The answer (None: there was none), and all that was heard. Raises LineLostError."""


class ModbusExchange:
    """A Modbus client that gives answers or reasons."""

    def __init__(self, link: Link, framing: str, guard: LateAnswerGuard | None) -> None:
        """Opens nothing.

        Args:
            link: carries the bytes.
            framing: `tcp`, `rtu` or `ascii`.
            guard: keeps late answers apart, where frames have no transaction numbers.
        """
        self._link = link
        self._frames = ModbusFrames(framing)
        self._judge_remains = REMAINS_JUDGES[framing]
        self._guard = guard

    async def open(self) -> None:
        """Connects. Raises LineLostError."""
        await self._link.open()

    def close(self) -> None:
        """Disconnects."""
        self._link.close()

    async def exchange(self, request: Request) -> Answer:
        """Reads, or writes (the answer is then empty). Raises LineLostError if the connection is gone."""
        assert isinstance(request, ModbusRequest | ModbusWrite)
        if self._guard is None:
            return await self._ask(request)
        wait_s = self._guard.wait_s(request.device_id, time.monotonic())
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)
        answer = await self._ask(request)
        is_heard = not isinstance(answer, Reason) or answer not in _FRAGMENTS
        rest_s = self._guard.note(request.device_id, is_heard, time.monotonic())
        if rest_s:
            await asyncio.sleep(rest_s)
        return answer

    async def _ask(self, request: ModbusQuestion) -> Answer:
        frames = self._frames
        pdu, heard = await self._link.ask(frames.encode(request), partial(frames.find_answer, request))
        return self._judge_remains(request, heard) if pdu is None else read_answer(request, pdu)
