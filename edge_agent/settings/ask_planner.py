"""Has a configuration checked and planned by a process of its own (shell): see `plan_process`."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Final

from contracts.errors import ConfigurationError
from edge_agent.agent_plan import AgentPlan
from edge_agent.errors import PlanningError

PLANNER: Final = "edge_agent.settings.plan_process"
_PACKAGES: Final = Path(__file__).parents[2]
"""Where our packages are: the planner must be the same program as we, whatever folder we were started in."""


class PlannerProcess:
    """A planner that has begun: what else the program must load meanwhile, it can load beside it."""

    def __init__(self, text: str, source: str, folder: Path) -> None:
        """Starts it.

        Args:
            text: of the configuration.
            source: the file's name, for faults.
            folder: what its relative paths are relative to.
        """
        path = os.pathsep.join([str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", PLANNER, source, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:  # ended already: `result` tells how
            pipe.write(text.encode())

    def result(self) -> AgentPlan:
        """Waits for the plan.

        Raises:
            ConfigurationError: with every fault.
            PlanningError: the planner was killed, or failed for a reason of its own (its words are in the log).
        """
        with self._process as process:
            assert process.stdout is not None
            try:
                outcome = pickle.load(process.stdout)  # noqa: S301  # written by our own child
            except (EOFError, pickle.UnpicklingError):
                outcome = None
        if isinstance(outcome, ConfigurationError):
            raise outcome
        if not isinstance(outcome, AgentPlan) or self._process.returncode:
            raise PlanningError(f"the configuration could not be planned: exit code {self._process.returncode}")
        return outcome


def ask_planner(text: str, source: str, folder: Path) -> AgentPlan:
    """Starts a planner and waits for its plan; raises what `PlannerProcess.result` raises."""
    return PlannerProcess(text, source, folder).result()
