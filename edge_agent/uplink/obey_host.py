"""Carries out the host's commands that take time (shell: waits): writes, and rereading the configuration.

One after the other, in the order in which they came, so that the uplink never waits for a line. What became of each
goes back to the session: a `Node Control/Answer`, and the actuator's new value.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from edge_agent.outputs.field_control import DONE, FieldControl
from edge_agent.uplink.host_command import WriteCommand
from edge_agent.uplink.sparkplug_session import ActuatorSet, CommandAnswered

WAITING_MAX: Final = 100
"""Commands that may wait; more are refused: a host that sends so many does not mean them."""

_log = logging.getLogger(__name__)

Tell = Callable[[CommandAnswered | ActuatorSet], None]
_Order = tuple[str, WriteCommand] | None
"""A write and its bus; None: reread the configuration."""


class HostOrders:
    """The commands that wait."""

    def __init__(self, control: FieldControl, reread: Callable[[], Awaitable[str]]) -> None:
        """Does nothing yet.

        Args:
            control: carries out writes.
            reread: rereads the configuration and gives the answer to it.
        """
        self._control = control
        self._reread = reread
        self._orders: asyncio.Queue[_Order] = asyncio.Queue(WAITING_MAX)

    def write(self, bus_id: str, commands: Sequence[WriteCommand]) -> int:
        """Takes the writes of one DCMD; gives how many there was no room for."""
        return sum(not self._put((bus_id, command)) for command in commands)

    def reread(self) -> int:
        """Takes a command to reread the configuration; gives 1 if there was no room for it."""
        return int(not self._put(None))

    async def run(self, tell: Tell) -> None:
        """Until cancelled; `tell` takes what the host is to be told."""
        while True:
            order = await self._orders.get()
            if order is None:
                tell(CommandAnswered(f"configuration: {await self._reread()}"))
                continue
            bus_id, command = order
            outcome = await self._control.obey(bus_id, command.metric_name, command.value)
            if outcome == DONE:
                tell(ActuatorSet(bus_id, command.metric_name, command.value))
            tell(CommandAnswered(f"write {command.metric_name} = {command.value:g}: {outcome}"))

    def _put(self, order: _Order) -> bool:
        try:
            self._orders.put_nowait(order)
        except asyncio.QueueFull:
            return False
        return True
