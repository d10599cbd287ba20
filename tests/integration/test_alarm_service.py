"""The real alarm service: its command line, its durability under kill -9, its stop."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time

import httpx
import pytest

from tests.running_alarm_service import COMMAND, DEADLINE_S, ROOT, Service, write_configuration


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgresql)])
def config(request, tmp_path):
    path = tmp_path / "alarm-service.toml"
    if request.param == "sqlite":
        yield write_configuration(path)
        return
    server = request.getfixturevalue("postgresql_server")
    url = server.make_database("alarm_process")
    yield write_configuration(path, f'url = "{url}"\npassword_file = "{server.password_file}"')
    server.drop_database("alarm_process")


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
    write_configuration(other, 'path = "other/alarms.sqlite"')
    other.write_text(other.read_text().replace("port = 0", f"port = {port}"))
    refused = subprocess.run([*COMMAND, "run", "--config", other], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "event=cannot_start" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_version_is_told():
    told = subprocess.run([*COMMAND, "--version"], cwd=ROOT, capture_output=True, text=True)
    assert re.fullmatch(r"alarm-service (0\.1\.0|0\+unknown)\n", told.stdout)
