"""A pseudo-terminal that stands for a serial port, under a stable name. A shell.

The slave end is kept open here too: otherwise the master would report an error as soon as a client closes the port, and
a client that comes back would find another terminal. Whoever reads nothing loses what does not fit into the line's
buffer, as on a wire.
"""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import Callable
from pathlib import Path

_READ_BYTES = 4096


class PseudoTerminal:
    """One line: the simulator at the master end, a client at `link`."""

    def __init__(self, link: Path, receive: Callable[[bytes], None]) -> None:
        self.link = link
        self._receive = receive
        self._master = -1
        self._slave = -1

    @property
    def is_open(self) -> bool:
        """Whether the port is there."""
        return self._master >= 0

    def open(self) -> None:
        """Makes the terminal, and the link to it in place of an older one."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.link.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(self._slave))
        fresh.replace(self.link)
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def close(self) -> None:
        """Takes the port away: a client that has it open gets an error, one that opens it finds no file."""
        if not self.is_open:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        if self.link.is_symlink() and self.link.readlink() == Path(os.ttyname(self._slave)):
            self.link.unlink()
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def send(self, answer: bytes) -> None:
        """Puts bytes on the line."""
        if self.is_open:
            try:
                os.write(self._master, answer)
            except BlockingIOError:
                return

    def _read(self) -> None:
        try:
            received = os.read(self._master, _READ_BYTES)
        except (BlockingIOError, OSError):
            return
        self._receive(received)
