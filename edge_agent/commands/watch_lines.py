"""`edge-agent watch` (shell): polls all lines and shows a live table in the terminal; no broker and no spool.

It is the lines' master while it runs, so the agent itself must be stopped. Where the output is no terminal, one table
is printed after each interval, for a log or a pipe.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from typing import Final

from contracts.quality import Reason
from edge_agent.agent_plan import AgentPlan, PolledLinePlan
from edge_agent.channel_table import ChannelTable, Reading
from edge_agent.commands.watch_table import WatchRow, draw_table
from edge_agent.lines.build_poller import build_line, build_poller
from edge_agent.lines.poll_bus import BusPoller
from edge_agent.task_set import cancel_tasks

REFRESH_S: Final = 1.0
_HOME_AND_CLEAR_BELOW: Final = "\x1b[H\x1b[J"
_FOREVER: Final = 1 << 62


class _Newest:
    """The newest reading of each channel, with when it came."""

    def __init__(self) -> None:
        self.of: dict[int, tuple[Reading, float]] = {}

    def put(self, bus_id: str, readings: list[Reading]) -> None:  # noqa: ARG002  # a sink's shape
        """Takes readings."""
        now_s = time.monotonic()
        self.of.update((reading[0], (reading, now_s)) for reading in readings)

    def line_changed(self, bus_id: str, is_up: bool) -> None:
        """Shows in the channels' quality."""


async def watch_lines(plan: AgentPlan, node_id: str | None, count: int | None = None) -> None:
    """Until cancelled, or until `count` tables were shown.

    Args:
        plan: of the configuration; its spool and broker are not touched.
        node_id: show only this node; None: all.
        count: tables to show.
    """
    channels, newest = ChannelTable(), _Newest()
    lines = [build_line(line, channels) for line in plan.lines if isinstance(line, PolledLinePlan)]
    pollers = [build_poller(line, newest, lambda: None) for line in lines]
    tasks = [asyncio.create_task(poller.run()) for poller in pollers]
    try:
        for _ in range(_FOREVER if count is None else count):
            await asyncio.sleep(REFRESH_S)
            _show(_rows(channels, newest, pollers, node_id))
    finally:
        await cancel_tasks(tasks)


def _rows(channels: ChannelTable, newest: _Newest, pollers: list[BusPoller], node_id: str | None) -> list[WatchRow]:
    now_s = time.monotonic()
    rows = []
    for poller in pollers:
        for alias, due_s in poller.due_s().items():
            channel = channels[alias]
            if node_id is not None and channel.node_id != node_id:
                continue
            reading, came_s = newest.of.get(alias, (None, now_s))
            rows.append(
                WatchRow(
                    f"{channel.bus_id}/{channel.node_id}",
                    channel.quantity,
                    None if reading is None else reading[2],
                    None if reading is None else Reason(reading[3]),
                    None if reading is None else now_s - came_s,
                    due_s - now_s,
                )
            )
    return rows


def _show(rows: list[WatchRow]) -> None:
    size = shutil.get_terminal_size()
    is_terminal = sys.stdout.isatty()
    lines = draw_table(rows, size.columns, size.lines - 1 if is_terminal else _FOREVER)
    print((_HOME_AND_CLEAR_BELOW if is_terminal else "") + "\n".join(lines), flush=True)
