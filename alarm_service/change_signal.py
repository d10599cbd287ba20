"""Wakes long polls when an alarm changed (shell: asyncio)."""

from __future__ import annotations

import asyncio


class ChangeSignal:
    """The newest revision, and a way to wait for another one. Belongs to one event loop."""

    def __init__(self, revision: int) -> None:
        self._revision = revision
        self._is_closed = False
        self._condition = asyncio.Condition()

    async def publish(self, revision: int) -> None:
        """Says that alarms changed; an older revision than the known one says nothing new."""
        async with self._condition:
            self._revision = max(self._revision, revision)
            self._condition.notify_all()

    async def wait_for_change(self, known_revision: int, timeout_s: float) -> None:
        """Returns when the revision is another one than the known one, after the timeout, or on `close`."""
        try:
            async with asyncio.timeout(timeout_s), self._condition:
                await self._condition.wait_for(lambda: self._is_closed or self._revision != known_revision)
        except TimeoutError:
            return

    async def close(self) -> None:
        """Wakes everybody for good: the service stops."""
        async with self._condition:
            self._is_closed = True
            self._condition.notify_all()
