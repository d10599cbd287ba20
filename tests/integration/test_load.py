"""`city-simulator load` and `load-check` with a real broker and the embedded engine: committed = stored, each once."""

from __future__ import annotations

import contextlib
import getpass
import json
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.access import hash_token

ROOT = Path(__file__).parents[2]
PARQUET = "store/parquet/**/*.parquet"
UP_WITHIN_S = 30.0
GATEWAYS, RATE, DURATION_S = 20, 2_000, 12

pytestmark = pytest.mark.needs_mosquitto


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def wait_until(what: str, check: Callable[[], object], within_s: float = UP_WITHIN_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.05)


def command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def run(module: str, *arguments: object, code: int = 0) -> str:
    ended = subprocess.run(
        command(module, *arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == code, f"{module} {arguments}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@contextlib.contextmanager
def program(folder: Path, module: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{module.partition('.')[0]}.log").open("ab") as log:
        process = subprocess.Popen(command(module, *arguments), cwd=ROOT, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


class Broker:
    """Mosquitto with the rendered configuration; can be killed and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    def start(self) -> None:
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with (self.folder / "mosquitto.log").open("ab") as log:
            arguments = [program, "-c", str(self.folder / "broker/mosquitto.conf")]
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log)
        wait_until("mosquitto listens", lambda: accepts(self.port))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Platform:
    folder: Path
    broker: Broker

    def load(self, *arguments: object) -> list[str]:
        return command(
            "simulators.cli",
            *("load", "--gateways", GATEWAYS, "--rate", RATE, "--nodes-per-gateway", 40, "--batch-readings", 60),
            *("--broker", f"127.0.0.1:{self.broker.port}", "--credentials", self.folder / "broker/passwords"),
            *("--primary-host", "citysense"),
            *arguments,
        )


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Broker, registry, alarm service and embedded stream processor, all with the files that `load` wrote."""
    tmp_path = tmp_path_factory.mktemp("platform")
    token = secrets.token_urlsafe(16)
    (tmp_path / "token").write_text(token)
    mqtt, registry, alarms, processor = (free_port() for _ in range(4))
    broker = Broker(tmp_path, mqtt)
    platform = Platform(tmp_path, broker)
    files = ["--fleet-out", tmp_path / "fleet.toml", "--broker-out", tmp_path / "broker", "--write-only"]
    subprocess.run(platform.load(*files), cwd=ROOT, check=True, timeout=60, stdout=subprocess.DEVNULL)
    description = tmp_path / "broker/broker.toml"
    description.write_text(f'run_as = "{getpass.getuser()}"\n{description.read_text()}')
    run("broker_config.cli", "render", "--kind", "mosquitto", "--config", description, "--out", tmp_path / "broker")
    principal = f'[[principal]]\nname = "test"\nrole = "%s"\ntoken_sha256 = "{hash_token(token)}"\n'
    for name, port in (("registry", registry), ("alarms", alarms)):
        (tmp_path / f"{name}.toml").write_text(
            f'[http]\nport = {port}\n[store]\npath = "{name}.sqlite"\n{principal % "processor"}'
        )
    (tmp_path / "processor.toml").write_text(
        f'[http]\nport = {processor}\n[store]\ndirectory = "store"\nparquet_interval_s = 1.0\n'
        f'[mqtt]\nport = {mqtt}\nusername = "citysense"\npassword_file = "broker/passwords/citysense"\n'
        f'[registry]\nurl = "http://127.0.0.1:{registry}"\ntoken_file = "token"\n'
        f'[alarm_service]\nurl = "http://127.0.0.1:{alarms}"\ntoken_file = "token"\n{principal % "viewer"}'
    )
    run("device_registry.cli", "import", "--config", tmp_path / "registry.toml", tmp_path / "fleet.toml")
    broker.start()
    try:
        with contextlib.ExitStack() as stack:
            for module, name, port in (
                ("device_registry.cli", "registry", registry),
                ("alarm_service.cli", "alarms", alarms),
                ("stream_processor.cli", "processor", processor),
            ):
                stack.enter_context(program(tmp_path, module, "run", "--config", tmp_path / f"{name}.toml"))
                wait_until(f"the {name} listens", lambda port=port: accepts(port))
            yield platform
    finally:
        broker.kill()


def counts(output: str) -> dict[str, int]:
    rows = (line.split() for line in output.splitlines() if not line.startswith(" "))
    return {name: int(count.replace(",", "")) for name, count in rows}


def check_until_nothing_is_missing(folder: Path) -> dict[str, int]:
    """The archive is written each second; what differs after that differs for good."""
    deadline_s = time.monotonic() + 30.0
    arguments = command("simulators.cli", "load-check", "--ledger", folder / "ledger", "--parquet", folder / PARQUET)
    while True:
        ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        if ended.returncode == 0:
            return counts(ended.stdout)
        assert time.monotonic() < deadline_s, f"{ended.stdout}\n{ended.stderr}"
        time.sleep(0.5)


def test_what_a_load_committed_is_stored_once_when_the_broker_is_killed_and_gateways_come_and_go(
    platform: Platform,
) -> None:
    folder = platform.folder
    faults = ["--herd-every", 4, "--death-every", 6, "--breach-every", 2, "--backlog-share", 0.02, "--backlog-age", 3]
    files = ["--ledger", folder / "ledger", "--report", folder / "report.json"]
    with (folder / "load.log").open("w") as log:
        arguments = platform.load("--duration", DURATION_S, "--resend-after", 3, *faults, *files)
        load = subprocess.Popen(arguments, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until("readings are made", lambda: committed_batches(folder / "ledger") > 100)
        platform.broker.kill()
        platform.broker.start()
        assert load.wait(DURATION_S + 90) == 0, (folder / "load.log").read_text()
    finally:
        load.kill()
        load.wait()
    report = json.loads((folder / "report.json").read_text())
    assert report["made_readings"] + 300 * report["unmade_batches"] > 0.95 * RATE * DURATION_S
    assert report["acknowledged_readings"] == report["made_readings"]
    assert report["lost_connections"] >= GATEWAYS, "each gateway lost the broker"
    assert report["cut_connections"] >= 6
    assert report["deaths"] >= 1
    assert report["breaches"] >= 3
    assert report["resent_batches"] > 0
    found = check_until_nothing_is_missing(folder)
    assert found["committed"] == found["stored"] == report["made_readings"]


def committed_batches(ledger: Path) -> int:
    if not ledger.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM batch").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def test_ctrl_c_prints_the_report_within_three_seconds_and_leaves_a_ledger_that_can_be_checked(
    platform: Platform, tmp_path: Path
) -> None:
    report = end_a_load(platform, tmp_path / "ledger", signal.SIGINT)
    assert "µs a reading" in report
    check_what_was_acknowledged(platform, tmp_path / "ledger")


def test_the_ledger_of_a_killed_load_is_whole(platform: Platform, tmp_path: Path) -> None:
    end_a_load(platform, tmp_path / "ledger", signal.SIGKILL)
    check_what_was_acknowledged(platform, tmp_path / "ledger")


def test_a_load_that_was_held_up_makes_every_reading_and_says_that_it_was_late(
    platform: Platform, tmp_path: Path
) -> None:
    files = ["--ledger", tmp_path / "ledger", "--report", tmp_path / "report.json"]
    arguments = platform.load("--duration", 5, "--resend-after", 3, *files)
    load = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until("readings are made", lambda: committed_batches(tmp_path / "ledger") > 20)
        load.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        load.send_signal(signal.SIGCONT)
        assert load.wait(60) == 0
    finally:
        load.kill()
        load.wait()
    report = json.loads((tmp_path / "report.json").read_text())
    assert abs(report["made_readings"] - 5 * RATE) <= 60, "open loop: what was due is made, to the batch"
    assert report["late_batches"]["<5"] > 5, "due in the first half second of the pause"
    assert report["acknowledged_max_s"] > 1.0, "counted from when it was due"


def end_a_load(platform: Platform, ledger: Path, how: signal.Signals) -> str:
    """Starts a load without end, and ends it when it is well under way; gives what it printed."""
    arguments = platform.load("--ledger", ledger)
    load = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        wait_until("readings are made", lambda: committed_batches(ledger) > 100)
        load.send_signal(how)
        report, _ = load.communicate(timeout=4)
    finally:
        load.kill()
        load.wait()
    # 1: some batches of the last moment were not acknowledged.
    assert load.returncode in ({-how} if how is signal.SIGKILL else {0, 1})
    return report


def check_what_was_acknowledged(platform: Platform, ledger: Path) -> None:
    deadline_s = time.monotonic() + 30.0
    arguments = ["load-check", "--ledger", ledger, "--parquet", platform.folder / PARQUET, "--acknowledged-only"]
    while True:
        ended = subprocess.run(
            command("simulators.cli", *arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        if ended.returncode == 0:
            return
        assert time.monotonic() < deadline_s, f"{ended.stdout}\n{ended.stderr}"
        time.sleep(0.5)
