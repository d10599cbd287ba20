"""Rereads the configuration on a host's command (shell): checked and planned first, and only then applied.

A file with a fault changes nothing: the log names every fault, the answer the first ones. A good one is applied as a
difference: lines that are the same keep polling. Where that cannot be (another broker, another spool), the agent's work
is restarted in an orderly way within the process: the death is sent, the spool closed, and all begins with a new epoch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from contracts.errors import ConfigurationError
from edge_agent.agent_plan import AgentPlan
from edge_agent.errors import AgentError
from edge_agent.outputs.audit_log import AuditLog
from edge_agent.settings.plan_difference import PlanDifference, compare_plans, describe_in_short

APPLIED: Final = "configuration: applied"
FAULTS_TOLD: Final = 3
"""Faults in the answer; the log has all of them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that has no fault."""

    plan: AgentPlan
    text: str = ""
    """As it stood in the file."""


Load = Callable[[], Loaded]
"""Reads and checks the file. Raises ConfigurationError."""
Apply = Callable[[Loaded, PlanDifference], Awaitable[None]]
"""Lets another plan take the place of the one that runs. Raises ConfigurationError: then nothing has changed."""


class Reread:
    """Waits for a configuration that differs from the one that runs."""

    def __init__(self, load: Load, running: AgentPlan, apply: Apply, audit: AuditLog) -> None:
        """Reads nothing yet.

        Args:
            load: reads, checks and plans the configuration.
            running: the plan that runs now; its lines are told by their digests.
            apply: lets another one take its place while lines keep polling.
            audit: where the command is recorded.
        """
        self._load = load
        self._running = running
        self._apply = apply
        self._audit = audit
        self.accepted = asyncio.Event()
        """Set when the agent's work must be restarted for `fresh`."""
        self.fresh: Loaded | None = None
        self.answer = APPLIED
        """What the host is told once `fresh` runs."""

    async def __call__(self) -> str:
        """Does what the host asks; gives the answer."""
        answer = await self._reread()
        _log.warning("configuration_reread answer=%r", answer)
        await self._record("host", "NCMD", answer)
        self._restart_if_asked()
        return answer

    async def take_back(self, good: Loaded, why: str) -> str:
        """Goes back to a configuration that is known to be good; gives what the host is told."""
        self.answer = f"configuration: taken back, {why}"
        await self._record("agent", "trial", f"taken back: {why}")
        await self._take(good)
        self._restart_if_asked()
        return self.answer

    async def _reread(self) -> str:
        try:
            loaded = await asyncio.to_thread(self._load)
            return await self._take(loaded)
        except ConfigurationError as error:
            for fault in error.faults:
                _log.error("configuration_fault source=%s fault=%r", error.source, f"{fault.path}: {fault.message}")
            told = "; ".join(f"{fault.path}: {fault.message}" for fault in error.faults[:FAULTS_TOLD])
            return f"refused, {len(error.faults)} faults: {told}"
        except (AgentError, ValueError) as error:
            return f"refused: {error}"

    async def _take(self, loaded: Loaded) -> str:
        """Applies a plan, or keeps it for the restart that it needs."""
        difference = compare_plans(self._running, loaded.plan)
        told = describe_in_short(difference)
        if difference.is_none:
            return told
        if difference.needs_restart:
            self.fresh = loaded
            return f"accepted: {told}"
        await self._apply(loaded, difference)
        self._running = loaded.plan.without_lines()
        return f"applied: {told}"

    def _restart_if_asked(self) -> None:
        if self.fresh is not None:
            self.accepted.set()

    async def _record(self, who: str, why: str, outcome: str) -> None:
        try:
            await self._audit.record("reread", who, "configuration", None, why, outcome)
        except OSError as error:
            _log.error("audit_failed error=%r", str(error))
