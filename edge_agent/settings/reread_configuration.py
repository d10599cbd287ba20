"""Rereads the configuration on a host's command (shell: files): checked and planned first, and only then applied.

A file with a fault changes nothing: the log names every fault, the answer the first ones. A good one is applied by an
orderly restart within the process: the death is sent, the spool closed, and all begins again with a new epoch.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import ConfigurationError
from edge_agent.errors import AgentError
from edge_agent.outputs.audit_log import AuditLog
from edge_agent.plan_agent import plan_agent
from edge_agent.settings.configuration import AgentSettings, ProfileLibrary

APPLIED: Final = "configuration: applied"
FAULTS_TOLD: Final = 3
"""Faults in the answer; the log has all of them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that has no fault."""

    settings: AgentSettings
    profiles: ProfileLibrary
    text: str = ""
    """As it stood in the file."""

    def digest(self) -> bytes:
        """The same for the same configuration, comments and order of keys apart."""
        text = hashlib.sha256(self.settings.model_dump_json().encode())
        for name in sorted(self.profiles):
            text.update(self.profiles[name].model_dump_json().encode())
        return text.digest()


Load = Callable[[], Loaded]
"""Reads and checks the file. Raises ConfigurationError."""


class Reread:
    """Waits for a configuration that differs from the one that runs."""

    def __init__(self, load: Load, running: Loaded, folder: Path, audit: AuditLog) -> None:
        """Reads nothing yet.

        Args:
            load: reads and checks the configuration.
            running: what runs now; only its digest is kept.
            folder: what its relative paths are relative to.
            audit: where the command is recorded.
        """
        self._load = load
        self._digest = running.digest()
        self._folder = folder
        self._audit = audit
        self.accepted = asyncio.Event()
        self.fresh: Loaded | None = None
        self.answer = APPLIED
        """What the host is told once `fresh` runs."""

    async def __call__(self) -> str:
        """Does what the host asks; gives the answer."""
        answer = await self._reread()
        _log.warning("configuration_reread answer=%r", answer)
        try:
            await self._audit.record("reread", "host", "configuration", None, "NCMD", answer)
        except OSError as error:
            _log.error("audit_failed error=%r", str(error))
        if self.fresh is not None:
            self.accepted.set()
        return answer

    async def take_back(self, good: Loaded, why: str) -> None:
        """Goes back to a configuration that is known to be good."""
        self.fresh, self.answer = good, f"configuration: taken back, {why}"
        try:
            await self._audit.record("reread", "agent", "configuration", None, "trial", f"taken back: {why}")
        except OSError as error:
            _log.error("audit_failed error=%r", str(error))
        self.accepted.set()

    async def _reread(self) -> str:
        try:
            loaded = await asyncio.to_thread(self._load_and_plan)
        except ConfigurationError as error:
            for fault in error.faults:
                _log.error("configuration_fault source=%s fault=%r", error.source, f"{fault.path}: {fault.message}")
            told = "; ".join(f"{fault.path}: {fault.message}" for fault in error.faults[:FAULTS_TOLD])
            return f"refused, {len(error.faults)} faults: {told}"
        except (AgentError, ValueError) as error:
            return f"refused: {error}"
        if loaded.digest() == self._digest:
            return "unchanged"
        self.fresh = loaded
        return "accepted"

    def _load_and_plan(self) -> Loaded:
        loaded = self._load()
        plan_agent(loaded.settings, loaded.profiles, self._folder)
        return loaded
