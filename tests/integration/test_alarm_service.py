"""The real alarm service: its command line, its durability under kill -9, its stop."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from contracts.access import hash_token

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "alarm_service.cli"]
DEADLINE_S = 20.0


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


@pytest.fixture
def config(tmp_path):
    principals = "".join(
        f'[[principal]]\nname = "{role}"\nrole = "{role}"\ntoken_sha256 = "{hash_token(role)}"\n'
        for role in ("processor", "operator")
    )
    path = tmp_path / "alarm-service.toml"
    path.write_text(f'[http]\nport = 0\n[store]\npath = "data/alarms.sqlite"\n{principals}')
    return path


@pytest.fixture
def start(config):
    services = []

    def start_service():
        services.append(Service(config))
        return services[-1]

    yield start_service
    for service in services:
        if service.process.poll() is None:
            service.kill()
        service.client.close()


def test_a_kill_after_the_answer_loses_nothing(start):
    service = start()
    answered = []

    def post_until_killed():
        for number in range(10_000):
            try:
                if service.post(number).status_code == 200:
                    answered.append(f"condition-{number}")
            except httpx.TransportError:
                return

    poster = threading.Thread(target=post_until_killed)
    poster.start()
    deadline = time.monotonic() + DEADLINE_S
    while len(answered) < 50 and time.monotonic() < deadline:
        time.sleep(0.005)
    service.kill()
    poster.join(DEADLINE_S)
    assert len(answered) >= 50
    survivor = start()
    kept = {alarm["condition_id"] for alarm in survivor.get("/v1/alarms").json()["alarms"]}
    assert set(answered) <= kept, "an answered condition was lost"
    assert len(kept) - len(answered) <= 1, "at most the one that was under way is kept without an answer"
    receipt = survivor.post(*range(len(answered))).json()
    assert receipt == {"accepted": 0, "duplicates": len(answered)}


def test_an_acknowledgement_survives_a_kill(start):
    service = start()
    service.post(1)
    assert service.acknowledge(1).status_code == 200
    service.kill()
    assert start().get("/v1/alarms/1").json()["acknowledged_by"] == "zhang"


def test_a_condition_reaches_a_waiting_page_within_milliseconds(start):
    service = start()
    service.post(0)
    revision = 1
    delays_s = []
    for number in range(1, 21):
        answer = {}

        def poll(answer=answer, revision=revision):
            with httpx.Client(base_url=service.address, timeout=DEADLINE_S) as client:
                answer["page"] = client.get(
                    "/v1/alarms",
                    params={"changed_after": revision, "wait_s": 20},
                    headers={"Authorization": "Bearer operator"},
                ).json()
                answer["at_s"] = time.monotonic()

        waiter = threading.Thread(target=poll)
        waiter.start()
        time.sleep(0.1)
        assert waiter.is_alive(), "nothing changed yet: the poll must wait"
        posted_s = time.monotonic()
        service.post(number)
        waiter.join(DEADLINE_S)
        assert [alarm["condition_id"] for alarm in answer["page"]["alarms"]] == [f"condition-{number}"]
        delays_s.append(answer["at_s"] - posted_s)
        revision = answer["page"]["revision"]
    delays_s.sort()
    print(f"post to waiting page: median {delays_s[10] * 1e3:.1f} ms, worst {delays_s[-1] * 1e3:.1f} ms")
    assert delays_s[10] < 0.25, f"median {delays_s[10]:.3f} s: is the long poll polling?"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_waiting_long_poll_does_not_delay_the_stop(start, number):
    service = start()
    service.post(0)
    answers = []
    waiter = threading.Thread(
        target=lambda: answers.append(service.get("/v1/alarms", changed_after=1, wait_s=30).status_code)
    )
    waiter.start()
    time.sleep(0.3)
    returncode, took_s = service.stop(number)
    waiter.join(DEADLINE_S)
    assert (returncode, answers) == (0, [200]), service.log
    assert took_s < 3.0
    assert not any("Traceback" in line for line in service.log)


def test_check_config_says_ok_or_names_every_fault(config, tmp_path):
    sound = subprocess.run([*COMMAND, "check-config", "--config", config], cwd=ROOT, capture_output=True, text=True)
    assert (sound.returncode, sound.stdout, sound.stderr) == (0, f"{config}: ok\n", "")
    faulty = tmp_path / "faulty.toml"
    faulty.write_text("[http]\nport = -1\n[store]\npth = 'x'\n")
    refused = subprocess.run([*COMMAND, "check-config", "--config", faulty], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert {line.split(": ")[1] for line in refused.stderr.splitlines()} == {
        "$.http.port",
        "$.store.path",
        "$.store.pth",
        "$.principal",
    }


def test_a_configuration_that_is_not_there_is_a_fault(tmp_path):
    absent = tmp_path / "absent.toml"
    refused = subprocess.run([*COMMAND, "run", "--config", absent], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert f"{absent}: $: cannot be read" in refused.stderr


def test_a_port_that_is_taken_is_said_in_one_line(start, config):
    service = start()
    port = service.address.rpartition(":")[2]
    other = config.with_name("other.toml")
    other.write_text(config.read_text().replace("port = 0", f"port = {port}").replace("data/", "other/"))
    refused = subprocess.run([*COMMAND, "run", "--config", other], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "event=cannot_start" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_version_is_told():
    told = subprocess.run([*COMMAND, "--version"], cwd=ROOT, capture_output=True, text=True)
    assert re.fullmatch(r"alarm-service (0\.1\.0|0\+unknown)\n", told.stdout)
