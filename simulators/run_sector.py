"""Runs a station that calls an endpoint, or an instrument on a pseudo-terminal, and shows what is said. A shell."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, NamedTuple

from simulators.errors import SimulatorError
from simulators.pseudo_terminal import PseudoTerminal
from simulators.sector_caller import Caller
from simulators.serial_instrument import SerialInstrument

_STEP_S: Final = 0.05
_CONNECT_S: Final = 5.0
_BACK_OFF_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Between attempts to connect; the last goes on for ever."""
_READ_BYTES: Final = 4096
_SHOWN_OCTETS: Final = 160


class Address(NamedTuple):
    """Where an endpoint listens."""

    host: str
    port: int


async def call(caller: Caller, address: Address, *, linger_s: float) -> None:
    """Calls an endpoint until all is reported and `linger_s` later, or a signal comes; calls again when it is cut off.

    Raises:
        SimulatorError: the endpoint says what is no right frame.
    """
    async with _until_signal() as stopped:
        tries = 0
        while not stopped.is_set() and not caller.is_done:
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection(*address), _CONNECT_S)
            except (OSError, TimeoutError) as error:
                delay_s = _BACK_OFF_S[min(tries, len(_BACK_OFF_S) - 1)]
                _tell(f"!! {address.host}:{address.port}: {error or 'no answer'}; again in {delay_s:g} s")
                tries += 1
                await _wait(stopped, delay_s)
                continue
            tries = 0
            _tell(f"-- connected to {address.host}:{address.port}")
            try:
                await _talk(caller, reader, writer, stopped, linger_s)
            except OSError as error:
                _tell(f"!! the connection broke: {error}")
            finally:
                writer.close()


async def call_on_terminal(caller: Caller, link: Path, *, linger_s: float) -> None:
    """The same on a pseudo-terminal that stands for the station's serial port."""
    async with _until_signal() as stopped:
        inbox = bytearray()
        terminal = PseudoTerminal(link, inbox.extend)
        terminal.open()
        _tell(f"-- the line is {link}")
        try:
            await _exchange(caller, _take_all(inbox), terminal.send, stopped, linger_s)
        finally:
            terminal.close()


async def play(instrument: SerialInstrument, link: Path) -> None:
    """An instrument at the other end of a pseudo-terminal, until a signal comes."""
    async with _until_signal() as stopped:

        def hear(octets: bytes) -> None:
            _show("<-", octets)
            step(octets)

        def step(octets: bytes) -> None:
            out = instrument.step(octets, time.monotonic())
            if out:
                _show("->", out)
                terminal.send(out)

        terminal = PseudoTerminal(link, hear)
        terminal.open()
        _tell(f"-- the line is {link}")
        try:
            while not stopped.is_set():
                step(b"")
                await _wait(stopped, _STEP_S)
        finally:
            terminal.close()


async def _talk(
    caller: Caller,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    stopped: asyncio.Event,
    linger_s: float,
) -> None:
    inbox = bytearray()

    async def listen() -> None:
        while octets := await reader.read(_READ_BYTES):
            inbox.extend(octets)

    listening = asyncio.create_task(listen())
    try:
        await _exchange(caller, _take_all(inbox), writer.write, stopped, linger_s, is_cut_off=listening.done)
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await listening
    if not stopped.is_set() and not caller.is_done:
        _tell("!! the endpoint closed the connection")


async def _exchange(
    caller: Caller,
    take: Callable[[], bytes],
    send: Callable[[bytes], None],
    stopped: asyncio.Event,
    linger_s: float,
    is_cut_off: Callable[[], bool] = lambda: False,
) -> None:
    """Lets the caller speak and listen; returns `linger_s` after it is done, so that the centre can ask."""
    done_s: float | None = None
    while not stopped.is_set() and not is_cut_off():
        now_s, wall_ns = time.monotonic(), time.time_ns()
        try:
            out = caller.receive(take(), now_s, wall_ns) + caller.step(now_s, wall_ns)
        except (ValueError, KeyError) as error:
            raise SimulatorError(f"the endpoint says what is no right frame: {error}") from error
        for line in caller.said:
            _tell(line)
        caller.said.clear()
        if out:
            send(out)
        if caller.is_done:
            done_s = now_s if done_s is None else done_s
            if now_s - done_s >= linger_s:
                return
        await _wait(stopped, _STEP_S)


def _take_all(inbox: bytearray) -> Callable[[], bytes]:
    def take() -> bytes:
        octets = bytes(inbox)
        inbox.clear()
        return octets

    return take


@contextlib.asynccontextmanager
async def _until_signal() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    yield stopped


async def _wait(stopped: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), seconds)


def _show(arrow: str, octets: bytes) -> None:
    shown = octets[:_SHOWN_OCTETS]
    _tell(f"{arrow} {shown.hex(' ')}{' …' if len(octets) > len(shown) else ''}")


def _tell(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()
