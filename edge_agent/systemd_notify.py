"""Tells systemd how we are (shell: one datagram to a socket); does nothing where systemd did not start us.

Source: sd_notify(3), "Standalone Implementations"; sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

READY: Final = "READY=1"
ALIVE: Final = "WATCHDOG=1"
MICROSECONDS: Final = 1_000_000

_log = logging.getLogger(__name__)


def notify(*words: str) -> bool:
    """Sends what systemd is to know; whether it was sent. What fails is told in the log and is no reason to end."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = f"\0{address[1:]}"  # an abstract socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
            one.connect(address)
            one.sendall("\n".join(words).encode())
    except OSError as error:
        _log.warning("systemd_not_told words=%r error=%r", words, error)
        return False
    return True


def watchdog_interval_s() -> float | None:
    """How often systemd wants to hear `ALIVE` at least: half of its limit. None: it does not watch this process."""
    pid = os.environ.get("WATCHDOG_PID")
    if pid is not None and pid != str(os.getpid()):
        return None
    try:
        limit_s = int(os.environ.get("WATCHDOG_USEC", "")) / MICROSECONDS
    except ValueError:
        return None
    return limit_s / 2 if limit_s > 0 else None
