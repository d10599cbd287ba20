"""Writing to the field (shell: waits): declared actuators only, within their limits, and never without an audit line.

A host's command is audited before it is carried out (`asked`) and after (`done`, or why not). If the audit log cannot
be written, the command is refused. What a local output does is audited by the output (switch_outputs.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from contracts.quality import REASONS, Reason
from edge_agent.modbus.modbus_write import ModbusWrite
from edge_agent.outputs.actuator import Actuator
from edge_agent.outputs.audit_log import AuditLog

WRITE_TIMEOUT_S: Final = 10.0
"""Then a write that still waits for its line is given up: a command that comes late is worse than none."""
DONE: Final = "done"

_log = logging.getLogger(__name__)


class BusWriter(Protocol):
    """A line that can be written to; see `poll_bus.BusPoller`."""

    async def write(self, write: ModbusWrite) -> Reason:
        """Carries out one write between two polls. Cancelled before it has begun, it is never carried out."""


class FieldControl:
    """The declared actuators of this gateway."""

    def __init__(self, actuators: Iterable[Actuator], writers: Mapping[str, BusWriter], audit: AuditLog) -> None:
        """Takes what it needs.

        Args:
            actuators: all that are declared.
            writers: the lines, by bus id.
            audit: where commands are recorded.
        """
        self._actuators = {actuator.metric_name: actuator for actuator in actuators}
        self._writers = writers
        self._audit = audit

    def replace(self, actuators: Iterable[Actuator]) -> None:
        """Other actuators from now on."""
        self._actuators = {actuator.metric_name: actuator for actuator in actuators}

    async def obey(self, bus_id: str, metric_name: str, value: float) -> str:
        """A write that a host commands over DCMD; gives `done`, or why it was not done."""
        why = f"DCMD on {bus_id}"
        actuator = self._actuators.get(metric_name)
        try:
            if actuator is None or actuator.bus_id != bus_id:
                outcome = "refused: no actuator of that name is declared on this bus"
            else:
                write = actuator.plan_write(value)
                await self._audit.record("write", "host", metric_name, value, why, "asked")
                outcome = await self._carry_out(actuator, write)
        except ValueError as error:
            outcome = f"refused: {error}"
        except OSError as error:
            _log.error("audit_failed error=%r", str(error))
            return f"refused: the audit log cannot be written: {error}"
        await self._record_outcome(metric_name, value, why, outcome)
        return outcome

    async def write(self, metric_name: str, value: float) -> str:
        """A write that the gateway itself has decided on; gives `done`, or why it was not done."""
        actuator = self._actuators[metric_name]  # checked with the configuration
        return await self._carry_out(actuator, actuator.plan_write(value))

    async def _carry_out(self, actuator: Actuator, write: ModbusWrite) -> str:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                reason = await self._writers[actuator.bus_id].write(write)
        except TimeoutError:
            return f"failed: the line had no turn for it within {WRITE_TIMEOUT_S:g} s"
        return DONE if reason is Reason.OK else f"failed: {reason.wire_name}: {REASONS[reason].text}"

    async def _record_outcome(self, metric_name: str, value: float, why: str, outcome: str) -> None:
        _log.warning("write_commanded target=%s value=%g outcome=%r", metric_name, value, outcome)
        try:
            await self._audit.record("write", "host", metric_name, value, why, outcome)
        except OSError as error:
            _log.error("audit_failed error=%r", str(error))
