"""Wakes everybody who waits for a change (shell: asyncio), for long polls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class ChangeSignal:
    """Waiters ask a question of their own; each `notify` lets them ask it again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Something changed."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait_until(self, is_true: Callable[[], bool], timeout_s: float) -> None:
        """Returns when `is_true()`, or after `timeout_s`."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not is_true() and (left_s := deadline_s - loop.time()) > 0.0:
            try:
                async with asyncio.timeout(left_s):
                    await self._event.wait()
            except TimeoutError:
                return
