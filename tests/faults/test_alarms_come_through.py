"""A gas alarm comes, once, and returns, whichever program is killed or hangs in between (promises 1, 3 and 7)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.running_city import RunningCity, city, is_alive, stop

COMES_WITHIN_S = 30.0


class Emergency:
    """What the duty officer's desk says, and orders to the simulator."""

    def __init__(self, running: RunningCity) -> None:
        self.running = running
        found = re.search(r"alarm-service\s+\d+\s+(http://\S+)", running.text)
        assert found, running.text
        self._url = found.group(1)
        self._token = (running.root / "secrets/viewer.token").read_text()

    def leak(self, node: str) -> None:
        self._order("leak", "--node", node, "--rise", "2", "--hold", "600")

    def clear(self, node: str) -> None:
        self._order("clear", node)

    def alarms(self, node: str) -> dict[str, str]:
        """Condition → state of all alarms of a node that are not normal; {} while the service is down."""
        try:
            page = self._get("/v1/alarms")
        except OSError:
            return {}
        return {row["condition_id"]: row["state"] for row in page["alarms"] if row["node_id"] == node}

    def journal_kinds(self, condition: str) -> list[str]:
        """What was ever journalled of a condition, oldest first, but for history.

        What was measured while the processor was down comes late: a breach in it is journalled as history, and no more.
        """
        entries = self._get("/v1/journal?limit=1000")
        return [
            row["kind"] for row in reversed(entries) if row["condition_id"] == condition and row["kind"] != "historical"
        ]

    def wait_for(self, what: str, is_so: Callable[[], object]) -> None:
        self.running.wait_until(what, is_so, COMES_WITHIN_S)

    def _order(self, verb: str, *words: str) -> None:
        control = str(self.running.root / "demo/field.sock")
        command = [sys.executable, "-m", "simulators.cli", verb, "--control", control, *words]
        subprocess.run(command, check=True, capture_output=True)

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(self._url + path, headers={"Authorization": f"Bearer {self._token}"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)


def kill_and_wait_for_the_next(running: RunningCity, program: str) -> None:
    pid = running.pids()[program]
    os.kill(pid, signal.SIGKILL)
    running.wait_until(f"{program} is gone", lambda: not is_alive(pid))
    running.wait_until(f"{program} runs again", lambda: running.pids()[program] != pid)


@pytest.mark.timeout(300)
def test_alarms_come_once_and_return_although_programs_are_killed_or_hang(tmp_path: Path) -> None:
    with city(tmp_path / "run") as running:
        running.wait_until("both gateways online", lambda: "all 2 gateways are online" in running.text)
        desk = Emergency(running)

        node = "gas-saltworks-01"  # the alarm service is killed while the leak grows: the outbox waits for it
        desk.leak(node)
        kill_and_wait_for_the_next(running, "alarm-service")
        desk.wait_for("the alarm, from the outbox", lambda: f"{node}.methane-25" in desk.alarms(node))
        assert desk.journal_kinds(f"{node}.methane-25") == ["activated"]

        node = "gas-saltworks-02"  # the registry hangs: it stands beside the flow
        registry = running.pids()["device-registry"]
        os.kill(registry, signal.SIGSTOP)
        try:
            desk.leak(node)
            desk.wait_for("the alarm, without a registry", lambda: f"{node}.methane-25" in desk.alarms(node))
        finally:
            os.kill(registry, signal.SIGCONT)

        node = "gas-saltworks-03"  # the processor is killed while the alarm is active: not told twice, and it returns
        desk.leak(node)
        desk.wait_for("the alarm", lambda: f"{node}.methane-25" in desk.alarms(node))
        kill_and_wait_for_the_next(running, "stream-processor")
        time.sleep(5.0)
        assert desk.alarms(node)[f"{node}.methane-25"] == "unacknowledged"
        desk.clear(node)
        desk.wait_for("the return", lambda: desk.alarms(node).get(f"{node}.methane-25") == "returned_unacknowledged")
        assert desk.journal_kinds(f"{node}.methane-25") == ["activated", "returned"]
        stop(running)
