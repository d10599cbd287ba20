"""Which version of the configuration runs, and the way back to the last known good one (shell: files, clock).

start:   the file, if it has no fault and has not failed before; else the last known good version
reread:  the file, or a refusal; what runs goes on
trial:   what flowed before must flow again, or the agent goes back by itself (`configuration_trial`)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from contracts.errors import ConfigurationError, Fault
from edge_agent.agent_plan import AgentPlan
from edge_agent.settings.configuration_trial import ConfigurationTrial, Verdict, wanted_flows
from edge_agent.settings.configuration_versions import ConfigurationVersions
from edge_agent.settings.flow_log import FlowLog
from edge_agent.settings.reread_configuration import Loaded

LOOK_S: Final = 1.0
NOTE_EVERY_S: Final = 10.0
"""How often it is written which flows there are, if that has changed."""

_log = logging.getLogger(__name__)


class ConfigurationKeeper:
    """Of one configuration file."""

    def __init__(
        self,
        source: str,
        versions: ConfigurationVersions,
        read: Callable[[], str],
        plan: Callable[[str], AgentPlan],
    ) -> None:
        """Reads nothing yet.

        Args:
            source: the file's name, for messages.
            versions: what was tried before.
            read: the file's text. Raises ConfigurationError.
            plan: checks and plans a text. Raises ConfigurationError, PlanningError.
        """
        self._source = source
        self._versions = versions
        self._read = read
        self._plan = plan
        self._trial: ConfigurationTrial | None = None
        self._number = 0
        self._began_s = 0.0
        self._noted_s = 0.0

    def first(self) -> Loaded:
        """What to start with. Raises ConfigurationError if the file has faults and nothing is known to be good."""
        try:
            return self.reread()
        except ConfigurationError as error:
            good = self.good()
            if good is None:
                raise
            for fault in error.faults:
                _log.error("configuration_fault source=%s fault=%r", error.source, f"{fault.path}: {fault.message}")
            _log.error("configuration_refused running=%d", self._versions.state.good)
            return good

    def reread(self) -> Loaded:
        """The file's configuration. Raises ConfigurationError with its faults, or because it failed its trial."""
        text = self._read()
        if self._versions.has_failed(text):
            told = "exactly this was tried and taken back, because data stopped: edit it to have it tried again"
            raise ConfigurationError(self._source, [Fault("$", told)])
        return Loaded(self._plan(text), text)

    def good(self) -> Loaded | None:
        """The last known good version; None if there is none, or if this program does not take it any more."""
        text = self._versions.good_text()
        try:
            return None if text is None else Loaded(self._plan(text), text)
        except ConfigurationError as error:
            _log.error("good_configuration_refused error=%r", str(error))  # the trace tells nothing
            return None

    def begin(self, loaded: Loaded) -> None:
        """This configuration runs from now on: on trial, unless it is the last known good one."""
        self._number = self._versions.take_in(loaded.text)
        self._began_s = self._noted_s = now_s = time.monotonic()
        self._trial = None
        if loaded.text == self._versions.good_text():
            return
        wanted = wanted_flows(self._versions.state.flowed, loaded.plan.line_digests)
        self._trial = ConfigurationTrial(wanted, now_s, loaded.plan.fall_back_after_s)
        _log.warning(
            "configuration_on_trial version=%d wanted=%s", self._number, ",".join(sorted(wanted)) or "anything"
        )

    def fail(self, why: str) -> Loaded | None:
        """What runs does not work. Gives the last known good one; None if there is no other."""
        good = None if self._versions.state.good == self._number else self.good()
        if good is None:
            self._trial = None
            return None
        self._versions.fail_trial(self._number)
        _log.error("configuration_failed version=%d why=%r", self._number, why)
        return good

    async def watch(self, flows: FlowLog) -> str:
        """Ends only when a trial has failed, and says why. Otherwise it takes down what flows."""
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = time.monotonic()
            if self._trial is None:
                self._note(flows, now_s)
                continue
            for name, last_s in flows.since(self._began_s):
                self._trial.see([name], last_s)
            verdict = self._trial.judge(now_s)
            if verdict is Verdict.PASSED:
                self._trial = None
                self._versions.pass_trial(self._number)
                self._versions.note_flows(name for name, _ in flows.since(self._began_s))
                _log.warning("configuration_good version=%d", self._number)
            elif verdict is Verdict.FAILED:
                return f"{', '.join(self._trial.stopped(now_s))} stopped"

    def _note(self, flows: FlowLog, now_s: float) -> None:
        if now_s - self._noted_s >= NOTE_EVERY_S:
            self._noted_s = now_s
            self._versions.note_flows(name for name, _ in flows.since(self._began_s))
