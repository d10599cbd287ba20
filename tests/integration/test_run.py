"""`citysense run` as a newcomer uses it: all programs up, told what is where, all gone after Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from deploy import configuration_text, prepare_run
from deploy.configuration_text import City, GatewayAccount
from deploy.layout import RunDirectory
from deploy.ports import PREFERRED_PORTS
from tests.running_city import DOWN_WITHIN_S, UP_WITHIN_S, city, good_channels, is_alive, stop

MODULES = {
    "alarm-service": "alarm_service.cli",
    "broker": "broker_config.cli",
    "console": "console.cli",
    "device-registry": "device_registry.cli",
    "stream-processor": "stream_processor.cli",
}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_configuration_that_we_write_is_accepted_by_its_program(tmp_path: Path, name: str) -> None:
    run = RunDirectory(str(tmp_path))
    prepare_run.make_folders(run)
    tokens = {principal: f"token of {principal}" for principal in configuration_text.PRINCIPALS}
    described = City(run, PREFERRED_PORTS, tokens, (GatewayAccount("gw-1", "harbour"),), "root")
    path = Path(run.config(name))
    path.write_text(configuration_text.RENDERERS[name](described))
    command = [sys.executable, "-m", MODULES[name], "check-config", "--config", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("broker", [pytest.param("mosquitto", marks=pytest.mark.needs_mosquitto), "rumqttd"])
def test_the_city_starts_tells_and_stops(tmp_path: Path, broker: str) -> None:
    with city(tmp_path / "run", "--broker", broker) as running:
        console = running.wait_until_announced()
        with urllib.request.urlopen(f"{console}/healthz", timeout=5) as answer:
            assert answer.status == 200
        assert re.search(r"^  password  \S+ ", running.text, re.MULTILINE)
        assert "a gas leak grows at" in running.text
        assert f"({broker})" in running.text
        running.wait_until("both gateways online", lambda: "all 2 gateways are online" in running.text)
        running.wait_until("good values over every bus", lambda: good_channels(running) > 200)
        stop(running)


def test_a_second_run_keeps_the_data_and_fresh_moves_them_aside(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with city(root) as running:
        running.wait_until_announced()
        token = (root / "secrets/viewer.token").read_text()
        stop(running)
    with city(root) as running:
        running.wait_until_announced()
        assert (root / "secrets/viewer.token").read_text() == token
        assert (root / "log/console.log.1").exists()
        stop(running)
    with city(root, "--fresh") as running:
        running.wait_until_announced()
        assert (root / "secrets/viewer.token").read_text() != token
        (aside,) = tmp_path.glob("run.before-*")
        assert (aside / "data/alarms.sqlite").exists()
        stop(running)


def test_a_killed_program_comes_back_and_a_killed_supervisor_leaves_nothing(tmp_path: Path) -> None:
    with city(tmp_path / "run") as running:
        running.wait_until_announced()
        first = running.pids()["alarm-service"]
        os.kill(first, signal.SIGKILL)
        running.wait_until("alarm-service again", lambda: running.pids()["alarm-service"] != first)
        assert "alarm-service was killed by SIGKILL; it starts again in 0.5 s" in running.text
        pids = running.pids()
        running.process.kill()
        running.process.wait()
        deadline = time.monotonic() + DOWN_WITHIN_S
        while left := [name for name, pid in pids.items() if is_alive(pid)]:
            assert time.monotonic() < deadline, f"outlived their supervisor: {left}"
            time.sleep(0.05)


def test_a_directory_has_one_city(tmp_path: Path) -> None:
    with city(tmp_path / "run") as running:
        running.wait_until("the lock", (tmp_path / "run/log").exists)
        with city(tmp_path / "run") as second:
            assert second.process.wait(30) == 2
        assert f"in use by the supervisor with pid {running.process.pid}" in second.text


def test_a_city_that_cannot_start_says_which_program_and_why(tmp_path: Path) -> None:
    root = tmp_path / "run"
    run = RunDirectory(str(root))
    prepare_run.make_folders(run)
    Path(run.data("alarms.sqlite")).write_bytes(b"this is no database, and nobody can read it" * 100)
    with city(root) as running:
        assert running.process.wait(UP_WITHIN_S) == 1
    assert "citysense could not start: alarm-service ended with exit code" in running.text
    assert "The end of its log" in running.text


@pytest.mark.needs_mosquitto
def test_a_broker_that_runs_and_lets_nobody_in_is_started_again(tmp_path: Path) -> None:
    with city(tmp_path / "run", "--broker", "mosquitto") as running:
        running.wait_until("both gateways online", lambda: "all 2 gateways are online" in running.text)
        first = running.pids()["broker"]
        os.kill(first, signal.SIGSTOP)  # alive, and deaf: as rumqttd can get (ADR 0002)
        running.wait_until("another broker", lambda: running.pids()["broker"] != first)
        assert "the broker runs, but the stream processor cannot connect to it" in running.text
        stop(running)
