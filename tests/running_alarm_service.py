"""The real alarm service as a process of its own, for tests that call it, kill it and stop it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from contracts.access import hash_token

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "alarm_service.cli"]
DEADLINE_S = 20.0


def write_configuration(path, store='path = "data/alarms.sqlite"', more=""):
    """With the principals `processor` and `operator`, whose tokens are their names."""
    principals = "".join(
        f'[[principal]]\nname = "{role}"\nrole = "{role}"\ntoken_sha256 = "{hash_token(role)}"\n'
        for role in ("processor", "operator")
    )
    path.write_text(f"[http]\nport = 0\n[store]\n{store}\n{more}\n{principals}")
    return path


def condition(number, state="active"):
    value = 26.0 if state == "active" else 18.0
    return {
        "event_id": f"{number:031x}{'a' if state == 'active' else 'b'}",
        "condition_id": f"condition-{number}",
        "channel_id": number + 1,
        "state": state,
        "phenomenon_ns": 1_700_000_000_000_000_000 + number,
        "detected_ns": 1_700_000_001_000_000_000,
        "value": value,
        "input_value": value,
        "set_point": 25.0,
        "priority": 1,
        "colour": "red",
        "title": "Methane above 25 %LEL",
        "gateway_id": "gw-1",
        "node_id": "gas-1",
        "site_id": "station-1",
        "district_id": "north",
        "quantity": "methane_lel",
        "unit": "%{LEL}",
    }


class Service:
    """A running alarm service, killed at the end if the test did not stop it."""

    def __init__(self, config):
        self.process = subprocess.Popen(
            [*COMMAND, "run", "--config", str(config)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        self.log = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        if not self._listening.wait(DEADLINE_S):
            self.kill()
            raise AssertionError(f"the service does not listen: {self.log}")
        self.client = httpx.Client(base_url=self.address, timeout=DEADLINE_S)

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            if match := re.search(r"event=listening host=(\S+) port=(\d+)", line):
                self.address = f"http://{match[1]}:{match[2]}"
                self._listening.set()
        self._listening.set()

    def post(self, *numbers, state="active"):
        body = {"events": [condition(number, state) for number in numbers]}
        return self.client.post("/v1/conditions", json=body, headers={"Authorization": "Bearer processor"})

    def get(self, path, **params):
        return self.client.get(path, params=params, headers={"Authorization": "Bearer operator"})

    def acknowledge(self, alarm_id):
        headers = {"Authorization": "Bearer operator"}
        return self.client.post(f"/v1/alarms/{alarm_id}/acknowledge", json={"by": "zhang"}, headers=headers)

    def kill(self):
        self.process.kill()
        self.wait()

    def stop(self, number=signal.SIGTERM):
        started = time.monotonic()
        self.process.send_signal(number)
        self.wait()
        return self.process.returncode, time.monotonic() - started

    def wait(self):
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        self.process.stderr.close()
