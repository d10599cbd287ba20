"""Whether a line is up, told once when it changes (shell: logging)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from edge_agent.errors import LineLostError


class LineSink(Protocol):
    """Who wants to know."""

    def line_changed(self, bus_id: str, is_up: bool) -> None:
        """The line was lost, or is up for the first time since."""


class LineState:
    """One line."""

    def __init__(self, bus_id: str, sink: LineSink, log: logging.Logger) -> None:
        """Of the line nothing is known yet.

        Args:
            bus_id: names it.
            sink: is told of each change.
            log: of who keeps the line.
        """
        self.is_up: bool | None = None
        """None before it was opened or refused."""
        self._bus_id = bus_id
        self._sink = sink
        self._log = log

    def note_up(self) -> None:
        """The line works."""
        if self.is_up is True:
            return
        self.is_up = True
        self._log.info("line_up bus_id=%s", self._bus_id)
        self._sink.line_changed(self._bus_id, True)

    def note_lost(self, error: LineLostError, mark_channels: Callable[[], None]) -> None:
        """The line is gone; its channels are marked before it is told."""
        if self.is_up is False:
            return
        self.is_up = False
        self._log.warning("line_lost bus_id=%s error=%r", self._bus_id, str(error))
        mark_channels()
        self._sink.line_changed(self._bus_id, False)
