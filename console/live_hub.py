"""Shell: holds the one view-model state of the process and wakes the open pages when a step changes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from console.view_model import Change, State, Update, merge, step


class Subscription:
    """What changed since one page looked last. Changes merge: a slow page costs no memory."""

    def __init__(self) -> None:
        self._change = Change()
        self._woken = asyncio.Event()

    def add(self, change: Change) -> None:
        """Takes a change in and wakes the page."""
        self._change = merge(self._change, change)
        self._woken.set()

    def wake(self) -> None:
        """Wakes the page without a change: the console stops."""
        self._woken.set()

    def take(self) -> Change:
        """All changes since the last time."""
        taken, self._change = self._change, Change()
        self._woken.clear()
        return taken

    async def wait(self, timeout_s: float) -> None:
        """Returns at the next change, or when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return


class LiveHub:
    """The state, and who is to be told of its changes. Used from one event loop."""

    def __init__(self) -> None:
        self.state = State()
        self.is_stopping = False
        self._subscriptions: set[Subscription] = set()

    def apply(self, update: Update) -> None:
        """Takes an update in."""
        self.state, change = step(self.state, update)
        if change != Change():
            for subscription in self._subscriptions:
                subscription.add(change)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """A subscription for as long as the context is open."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def stop(self) -> None:
        """Ends all open pages: the server waits for open answers otherwise."""
        self.is_stopping = True
        for subscription in self._subscriptions:
            subscription.wake()
