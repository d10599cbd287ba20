"""The unit file of the edge agent: systemd takes it, and what keeps a gateway safe stands in it."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[3] / "deploy/edge-agent.service"
EXPOSURE_MAX = 2.0
"""Of `systemd-analyze security`: 0 is least, an unhardened service has 9.6."""


def directives() -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are case-sensitive
    parser.read(UNIT)
    return {name: dict(parser[name]) for name in parser.sections()}


def test_it_is_started_again_for_ever_and_watched():
    unit, service = directives()["Unit"], directives()["Service"]
    assert (service["Restart"], unit["StartLimitIntervalSec"]) == ("always", "0")
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 30, "a bus of silent devices may take long for a round"


def test_it_needs_no_network_to_start_and_no_right_but_the_serial_ports():
    unit, service = directives()["Unit"], directives()["Service"]
    assert "network" not in unit["After"]
    assert service["SupplementaryGroups"] == "dialout"
    assert service["CapabilityBoundingSet"] == ""
    assert service["User"] != "root"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_it_and_finds_it_hardened(tmp_path):
    program = tmp_path / "edge-agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={program}", UNIT.read_text()))
    verified = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60)
    ours = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert (verified.returncode, ours) == (0, [])
    security = ["systemd-analyze", "security", "--offline=true", "--no-pager", copy]
    told = subprocess.run(security, capture_output=True, text=True, timeout=60).stdout
    exposure = re.search(r"Overall exposure level for .*: (\d+\.\d)", told)
    assert exposure is not None, told[-500:]
    assert float(exposure.group(1)) <= EXPOSURE_MAX
