"""A serial port that carries a question and brings the answer (shell), in a thread of its own.

Why a thread: an event loop rounds its waits up to whole milliseconds, and the silence between two RTU frames is 1.75 ms
above 19,200 baud. A thread that sleeps and selects is woken within some tens of microseconds, and the work that a poll
makes in the event loop (judging, storing) passes while the line is silent anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import termios
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import serial

from edge_agent.errors import LineLostError
from edge_agent.settings.line_settings import ModbusRtuLineSettings

READ_BYTES: Final = 4096
CLOSE_WITHIN_S: Final = 1.0
"""The thread is woken at once; this is for a driver of the kernel that hangs."""

FindAnswer = Callable[[bytes], bytes | None]


class SerialLink:
    """One port."""

    def __init__(self, bus: ModbusRtuLineSettings, frame_gap_s: float) -> None:
        """Opens nothing.

        Args:
            bus: the port and its characters.
            frame_gap_s: silence that must stand between two frames.
        """
        self.name = bus.port
        self._bus = bus
        self._frame_gap_s = frame_gap_s
        self._line: _OpenLine | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Opens the port. Raises LineLostError."""
        self.close()
        try:
            self._line = _OpenLine(self._bus, self._frame_gap_s)
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise LineLostError(f"{self.name}: {error}") from error
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"line-{self._bus.bus_id}")

    def close(self) -> None:
        """Closes the port, whatever is being said on it."""
        line, thread = self._line, self._thread
        self._line = self._thread = None
        if line is None or thread is None:
            return
        line.wake()
        with contextlib.suppress(TimeoutError):
            thread.submit(line.close).result(CLOSE_WITHIN_S)
        thread.shutdown(wait=False)

    async def ask(self, question: bytes, find_answer: FindAnswer) -> tuple[bytes | None, bytes]:
        """Sends a question and listens until the answer is there, or the time is over.

        Returns:
            The answer (None: there was none), and all that was heard.

        Raises:
            LineLostError: the port is closed or gone.
        """
        line, thread = self._line, self._thread
        if line is None or thread is None:
            raise LineLostError(f"{self.name}: the port is closed")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(thread, line.ask, question, find_answer)
        except (serial.SerialException, OSError, termios.error) as error:
            raise LineLostError(f"{self.name}: {error}") from error


class _OpenLine:
    """The open port; `ask` and `close` are called in the thread, `wake` from anywhere before `close`."""

    def __init__(self, bus: ModbusRtuLineSettings, frame_gap_s: float) -> None:
        self._timeout_s = bus.timeout_s
        self._frame_gap_s = frame_gap_s
        self._free_from_s = 0.0
        """When the line has been silent for long enough."""
        self._port = serial.Serial(
            bus.port,
            baudrate=bus.baud_rate,
            bytesize=bus.data_bits,
            parity=bus.parity,
            stopbits=bus.stop_bits,
            timeout=0,
            write_timeout=bus.timeout_s,
            exclusive=True,
        )
        self._waking, self._woken = os.pipe()
        self._is_closing = False

    def wake(self) -> None:
        self._is_closing = True
        os.write(self._woken, b"\0")

    def close(self) -> None:
        for end in (self._waking, self._woken):
            os.close(end)
        self._port.close()

    def ask(self, question: bytes, find_answer: FindAnswer) -> tuple[bytes | None, bytes]:
        time.sleep(max(self._free_from_s - time.monotonic(), 0.0))
        if self._is_closing:
            raise OSError("the port is being closed")
        self._port.reset_input_buffer()  # what came since the last answer is none to this question
        self._port.write(question)
        return self._listen(find_answer, time.monotonic() + self._timeout_s)

    def _listen(self, find_answer: FindAnswer, deadline_s: float) -> tuple[bytes | None, bytes]:
        heard = b""
        while (left_s := deadline_s - time.monotonic()) > 0.0:
            readable, _, _ = select.select([self._port.fileno(), self._waking], [], [], left_s)
            if self._waking in readable:
                raise OSError("the port is being closed")
            if not readable:
                break
            octets = self._port.read(READ_BYTES)
            if not octets:
                raise OSError("the port is gone")
            self._free_from_s = time.monotonic() + self._frame_gap_s
            heard += octets
            answer = find_answer(heard)
            if answer is not None:
                return answer, heard
        return None, heard
