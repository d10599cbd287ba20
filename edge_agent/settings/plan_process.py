"""The process that plans (shell): a configuration's text comes in, a plan or its faults go out, and it ends.

    python -m edge_agent.settings.plan_process SOURCE FOLDER < agent.toml > plan

What checks a configuration (pydantic, TOML, all profiles) weighs more than what runs. It lives here for a second, and
the process that runs gets plain objects (`agent_plan`) by pickle, over a pipe from its own child, which nobody else can
write to.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from contracts.errors import ConfigurationError
from edge_agent.agent_plan import AgentPlan
from edge_agent.plan_agent import plan_agent
from edge_agent.settings.configuration import find_profile_folder, parse_configuration
from edge_agent.settings.load_profiles import load_profiles


def plan_text(text: str, source: str, folder: Path) -> AgentPlan:
    """Checks and plans a configuration.

    Args:
        text: of the configuration.
        source: the file's name, for faults.
        folder: what its relative paths are relative to.

    Raises:
        ConfigurationError: with every fault.
    """
    own_folder = find_profile_folder(text)
    profiles = load_profiles(None if own_folder is None else folder / own_folder)
    return plan_agent(parse_configuration(text, source, profiles), profiles, folder)


def main() -> None:
    """The process."""
    source, folder = sys.argv[1:]
    text = sys.stdin.buffer.read().decode("utf-8")
    try:
        outcome: AgentPlan | ConfigurationError = plan_text(text, source, Path(folder))
    except ConfigurationError as error:
        outcome = error
    pickle.dump(outcome, sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
