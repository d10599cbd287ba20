"""`citysense run` as a newcomer uses it: all programs up, told what is where, all gone after Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy import configuration_text, prepare_run
from deploy.configuration_text import City, GatewayAccount
from deploy.layout import RunDirectory
from deploy.ports import PREFERRED_PORTS

UP_WITHIN_S = 60.0
"""Generous: tests share the machine. The promise (10 s) is measured by `make bench`."""
DOWN_WITHIN_S = 5.0
CONSOLE = re.compile(r"^Console   (http://127\.0\.0\.1:\d+)/$", re.MULTILINE)
MODULES = {
    "alarm-service": "alarm_service.cli",
    "broker": "broker_config.cli",
    "console": "console.cli",
    "device-registry": "device_registry.cli",
    "stream-processor": "stream_processor.cli",
}


@dataclass
class RunningCity:
    """A running `citysense run`, and what it has said so far."""

    process: subprocess.Popen[str]
    root: Path
    said: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.said)

    def pids(self) -> dict[str, int]:
        rows = json.loads((self.root / "run.json").read_text())["programs"]
        return {row["name"]: row["pid"] for row in rows}

    def logs(self) -> str:
        tails = [f"--- {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self.root.glob("log/*.log"))]
        return f"{self.text}\n" + "\n".join(tails)

    def wait_until(self, what: str, check: Callable[[], object], within_s: float = UP_WITHIN_S) -> None:
        deadline = time.monotonic() + within_s
        while not check():
            assert self.process.poll() is None, f"citysense ended with {self.process.returncode}:\n{self.logs()}"
            assert time.monotonic() < deadline, f"not within {within_s} s: {what}\n{self.logs()}"
            time.sleep(0.05)

    def wait_until_announced(self) -> str:
        self.wait_until("the announcement", lambda: "Ctrl-C stops everything." in self.text)
        found = CONSOLE.search(self.text)
        assert found, self.text
        return found.group(1)


@contextlib.contextmanager
def city(root: Path, *arguments: str) -> Iterator[RunningCity]:
    command = [sys.executable, "-m", "deploy.cli", "run", "--dir", str(root), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    running = RunningCity(process, root)
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: running.said.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def stop(running: RunningCity) -> None:
    """Ctrl-C, and the promise that belongs to it."""
    pids = running.pids()
    began = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(DOWN_WITHIN_S + 10) == 0, running.logs()
    assert time.monotonic() - began < DOWN_WITHIN_S
    assert [name for name, pid in pids.items() if is_alive(pid)] == []


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
