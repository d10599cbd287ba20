"""Tasks that come and go while the agent runs (shell): lines, local outputs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final

CANCEL_AGAIN_S: Final = 0.2


class TaskSet:
    """Tasks by name. None of them ends by itself unless it has failed: then `watch` ends with its error."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def start(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Starts a task under a name that is free."""
        assert name not in self._tasks, name
        self._tasks[name] = asyncio.create_task(work, name=name)
        self._changed.set()

    async def stop(self, name: str) -> None:
        """Cancels a task and waits for its end; harmless if there is none of this name."""
        task = self._tasks.pop(name, None)
        if task is not None:
            await cancel_tasks([task])

    def cancel(self, name: str) -> None:
        """Cancels a task without waiting for its end; its name is free at once."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def stop_all(self) -> None:
        """Cancels all tasks at once and waits for their end."""
        tasks, self._tasks = [*self._tasks.values(), *self._ending], {}
        await cancel_tasks(tasks)

    async def watch(self) -> None:
        """Until cancelled, or until a task has failed; raises its error."""
        while True:
            self._changed.clear()
            change = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait([change, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
            finally:
                change.cancel()
            raise_first_error(list(self._tasks.values()))


def raise_first_error(tasks: list[asyncio.Task[None]]) -> None:
    """A task that ended by itself has failed: the agent ends with its error, and is started again from outside."""
    for task in tasks:
        if task.done() and not task.cancelled() and task.exception() is not None:
            task.result()


async def cancel_tasks(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels until all have ended: `asyncio.wait_for` (Python 3.11) can swallow a cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
