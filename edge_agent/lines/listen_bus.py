"""Listens for stations on one bus for ever (shell): opens the port, carries bytes, keeps the times.

What is said and answered is decided by the bus's `Endpoint` (listen_effect.py). A receipt is sent only after the
spool has everything that was delivered before it; if the disk refuses there is none, and the station tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from contracts.observation import whole_milliseconds
from contracts.quality import Reason
from edge_agent.back_off import back_off_s
from edge_agent.channel_table import Reading
from edge_agent.errors import LineLostError
from edge_agent.lines.line_state import LineState
from edge_agent.lines.listen_effect import Conversation, Deliver, Effect, Endpoint, Lane, Moment, Note, Send
from edge_agent.lines.note_limit import NoteLimit

TICK_S: Final = 0.5
LINE_RETRY_FIRST_S: Final = 1.0
LINE_RETRY_LONGEST_S: Final = 10.0

_log = logging.getLogger(__name__)


class Line(Protocol):
    """A connection, or a serial line."""

    peer: str
    """Who is at the other end, for the log."""

    async def read(self) -> bytes:
        """The next bytes; none if the other side has hung up. May be cancelled without losing any."""

    async def write(self, octets: bytes) -> None:
        """Sends. Raises LineLostError if the other side is gone, or does not take it in time."""


Converse = Callable[[Line], Awaitable[None]]


class Listener(Protocol):
    """A driver: a port that stations call."""

    frame_pause_s: float
    """Silence that ends a frame."""
    idle_s: float | None
    """A line without a whole frame for so long is closed; None: never."""

    async def serve(self, converse: Converse, opened: Callable[[], None]) -> None:
        """Opens the port, says so, and converses on every line of it, until cancelled.

        Raises:
            LineLostError: the port cannot be opened, or is gone.
        """


class ListenSink(Protocol):
    """Where a listening bus puts what it hears."""

    def put(self, bus_id: str, readings: list[Reading]) -> None:
        """Takes readings of now, oldest first."""

    def put_history(self, bus_id: str, readings: list[Reading]) -> None:
        """Takes readings of the past, which are sent marked historical."""

    async def store(self) -> bool:
        """Commits at once what was put; whether it is durable now."""

    def line_changed(self, bus_id: str, is_up: bool) -> None:
        """The port was lost, or is open for the first time since."""


class BusListener:
    """One task per bus, and one per line."""

    def __init__(self, bus_id: str, listener: Listener, endpoint: Endpoint, sink: ListenSink) -> None:
        self._bus_id = bus_id
        self._listener = listener
        self._endpoint = endpoint
        self._sink = sink
        self._limit = NoteLimit()
        self._state = LineState(bus_id, sink, _log)
        self._attempt = 0

    async def run(self) -> None:
        """Until cancelled."""
        ticking = asyncio.create_task(self._tick_for_ever())
        try:
            while True:
                try:
                    await self._listener.serve(self._converse, self._note_open)
                except LineLostError as error:
                    self._state.note_lost(error, self._mark_lost)
                self._attempt += 1
                await asyncio.sleep(
                    back_off_s(self._attempt, LINE_RETRY_FIRST_S, LINE_RETRY_LONGEST_S, random.random())  # noqa: S311
                )
        finally:
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self._state.is_up:
                await self._carry_out(self._endpoint.tick(_now()), None)

    async def _converse(self, line: Line) -> None:
        """One line, until the other side hangs up or is silent for too long."""
        self._note(Note("station_connected", "", is_warning=False), line)
        conversation = self._endpoint.begin()
        why = "hung up"
        try:
            await self._converse_until_end(conversation, line)
        except LineLostError as error:
            why = str(error)
        finally:
            await self._carry_out(conversation.pause(_now()), None)
            self._note(Note("station_disconnected", f"why={why!r}", is_warning=False), line)

    async def _converse_until_end(self, conversation: Conversation, line: Line) -> None:
        heard_s = ticked_s = progressed_s = time.monotonic()
        frames_total, is_paused = 0, True
        while True:
            octets: bytes | None = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    octets = await line.read()
            now = _now()
            effects: list[Effect] = []
            if octets is None:
                if not is_paused and now.monotonic_s - heard_s >= self._listener.frame_pause_s:
                    is_paused = True
                    effects += conversation.pause(now)
            elif not octets:
                return
            else:
                heard_s, is_paused = now.monotonic_s, False
                effects += conversation.receive(octets, now)
            if now.monotonic_s - ticked_s >= TICK_S:
                ticked_s = now.monotonic_s
                effects += conversation.tick(now)
            await self._carry_out(effects, line)
            if conversation.frames_total > frames_total:
                frames_total, progressed_s = conversation.frames_total, now.monotonic_s
            elif self._listener.idle_s is not None and now.monotonic_s - progressed_s >= self._listener.idle_s:
                raise LineLostError(f"no frame for {self._listener.idle_s:g} s")

    async def _carry_out(self, effects: Iterable[Effect], line: Line | None) -> None:
        """Does what was decided; `line` is None if nobody is there to answer: then nothing needs to be awaited."""
        receipts: list[bytes] = []
        must_store = False
        for effect in effects:
            match effect:
                case Send(octets=octets) if line is not None:
                    await line.write(octets)
                case Deliver():
                    self._deliver(effect)
                    must_store = must_store or bool(effect.receipt) or effect.lane is Lane.URGENT
                    if effect.receipt:
                        receipts.append(effect.receipt)
                case Note():
                    self._note(effect, line)
        if not must_store or line is None:
            return
        if not await self._sink.store():
            self._note(Note("receipt_withheld", f"count={len(receipts)} why='not durable yet'"), line)
        elif line is not None and receipts:
            await line.write(b"".join(receipts))

    def _deliver(self, deliver: Deliver) -> None:
        if not deliver.readings:
            return
        put = self._sink.put_history if deliver.lane is Lane.HISTORY else self._sink.put
        put(self._bus_id, list(deliver.readings))

    def _note(self, note: Note, line: Line | None) -> None:
        passed_over = self._limit.admit(note.event, time.monotonic())
        if passed_over is None:
            return
        detail = f"{note.detail} passed_over={passed_over}" if passed_over else note.detail
        level = logging.WARNING if note.is_warning else logging.INFO
        peer = "-" if line is None else line.peer
        _log.log(level, "%s bus_id=%s peer=%s %s", note.event, self._bus_id, peer, detail)

    def _note_open(self) -> None:
        self._attempt = 0
        self._state.note_up()

    def _mark_lost(self) -> None:
        lost_ns, reason = whole_milliseconds(time.time_ns()), int(Reason.LINE_LOST)
        readings: list[Reading] = [(alias, lost_ns, None, reason) for alias in self._endpoint.aliases]
        self._sink.put(self._bus_id, readings)


def _now() -> Moment:
    return Moment(time.time_ns(), time.monotonic())
