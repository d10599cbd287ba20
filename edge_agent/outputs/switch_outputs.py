"""Switches local outputs (shell: waits, runs programs): each by its own task, until it stands as it should.

Readings pass through `OutputSink` before they are stored or sent, so that an output needs neither a broker nor a disk
nor a network. What fails is tried again with growing pauses, and given up only when the output is to stand differently.
The switch itself goes first and the audit line second: a siren does not wait for a disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from contracts.identifiers import format_metric_name
from edge_agent.back_off import back_off_s
from edge_agent.channel_table import Reading
from edge_agent.lines.listen_bus import ListenSink
from edge_agent.lines.report_filter import Sink
from edge_agent.outputs.audit_log import AuditLog
from edge_agent.outputs.field_control import DONE, FieldControl
from edge_agent.outputs.output_settings import CommandAction, OutputAction, OutputSettings, WriteAction

RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 30.0

_log = logging.getLogger(__name__)


TakeReadings = Callable[[list[Reading]], None]
"""Steps the local alarms with readings, and switches what they change."""


class OutputSink:
    """A sink before the sink: steps the local alarms with every reading, then passes all on."""

    def __init__(self, take: TakeReadings, sink: Sink) -> None:
        self._take = take
        self._sink = sink

    def put(self, bus_id: str, readings: list[Reading]) -> None:
        """Takes readings, oldest first."""
        self._take(readings)
        self._sink.put(bus_id, readings)

    def line_changed(self, bus_id: str, is_up: bool) -> None:
        """Passes it on: a lost line neither raises nor ends an alarm."""
        self._sink.line_changed(bus_id, is_up)


class ListenOutputSink(OutputSink):
    """The same before the sink of a bus that listens: history is no matter of local alarms."""

    def __init__(self, take: TakeReadings, sink: ListenSink) -> None:
        super().__init__(take, sink)
        self._listen_sink = sink

    def put_history(self, bus_id: str, readings: list[Reading]) -> None:
        """Passes readings of the past on."""
        self._listen_sink.put_history(bus_id, readings)

    async def store(self) -> bool:
        """Commits at once what was put; whether it is durable now."""
        return await self._listen_sink.store()


class OutputSwitcher:
    """One output."""

    def __init__(self, settings: OutputSettings, control: FieldControl, audit: AuditLog, folder: Path) -> None:
        """Does nothing yet.

        Args:
            settings: what switches it.
            control: carries out writes.
            audit: where each switch is recorded.
            folder: the working directory of commands.
        """
        self._settings = settings
        self._control = control
        self._audit = audit
        self._folder = folder
        self._wake = asyncio.Event()
        self._wanted: tuple[bool, str] | None = None
        self._stands: bool | None = None
        self._recorded: tuple[bool, str] | None = None

    def switch(self, is_on: bool, why: str) -> None:
        """From now on it is to be so."""
        self._wanted = (is_on, why)
        self._wake.set()

    def assert_again(self, why: str) -> None:
        """Does once more what was done last: nobody knows how it stands now. Nothing, if it was never told anything."""
        if self._wanted is not None:
            self._wanted = (self._wanted[0], why)
            self._stands = None
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            wait_s = back_off_s(failures, RETRY_FIRST_S, RETRY_LONGEST_S, random.random()) if failures else None  # noqa: S311
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._wake.clear()
            wanted = self._wanted
            if wanted is None or wanted[0] is self._stands:
                failures = 0
                continue
            outcome = await self._perform(wanted[0])
            failures = 0 if outcome == DONE else failures + 1
            self._stands = wanted[0] if outcome == DONE else None
            await self._record(*wanted, outcome)

    async def _perform(self, is_on: bool) -> str:
        action = self._settings.on if is_on else self._settings.off
        match action:
            case None:
                return DONE  # stays as it is until a person resets it
            case WriteAction():
                return await self._control.write(format_metric_name(action.node_id, action.actuator), action.value)
            case CommandAction():
                return await run_command(action, self._folder)

    async def _record(self, is_on: bool, why: str, outcome: str) -> None:
        """A line for each switch, and for each new reason why it fails."""
        if self._recorded == (is_on, outcome) and outcome != DONE:
            return
        self._recorded = (is_on, outcome)
        output_id = self._settings.output_id
        _log.warning("output_switched output_id=%s is_on=%s outcome=%r why=%r", output_id, is_on, outcome, why)
        value = describe_action(self._settings.on if is_on else self._settings.off)
        try:
            await self._audit.record("output", "local", f"{output_id} {'on' if is_on else 'off'}", value, why, outcome)
        except OSError as error:
            _log.error("audit_failed error=%r", str(error))


async def run_command(action: CommandAction, folder: Path) -> str:
    """Runs a program without a shell; gives `done`, or why it failed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *action.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=folder,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"failed: {action.argv[0]}: {error}"
    try:
        async with asyncio.timeout(action.timeout_s):
            code = await process.wait()
    except TimeoutError:
        return f"failed: {action.argv[0]}: killed after {action.timeout_s:g} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
            await process.wait()
    return DONE if code == 0 else f"failed: {action.argv[0]}: exit code {code}"


def describe_action(action: OutputAction | None) -> str:
    """An action for the audit log."""
    match action:
        case None:
            return "nothing: a person resets it"
        case WriteAction():
            return f"{format_metric_name(action.node_id, action.actuator)} = {action.value:g}"
        case CommandAction():
            return " ".join(action.argv)
