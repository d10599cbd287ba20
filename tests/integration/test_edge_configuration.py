"""A new configuration on trial, the way back, and systemd's watchdog, with the whole agent and a Modbus server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.conftest import wait_until
from tests.edge_configuration import gateway, modbus_bus, strain_node
from tests.modbus_field import ModbusField
from tests.mqtt_probe import free_port

ROOT = Path(__file__).parents[2]
CONFIGURATION = "".join(
    (
        gateway(),
        "[configuration]\nfall_back_after_s = 6.0\n",
        modbus_bus(timeout_s=0.3),
        strain_node(device_id="{device_id}", poll_interval_s=0.1),
    )
)


@dataclass
class Gateway:
    folder: Path
    field: ModbusField
    process: subprocess.Popen[bytes] | None = None
    lives: int = 0

    @property
    def file(self) -> Path:
        return self.folder / "agent.toml"

    def configure(self, device_id: int) -> None:
        ports = {"mqtt_port": 1, "modbus_port": self.field.port}  # nobody listens at port 1: there is no uplink
        self.file.write_text(CONFIGURATION.format(device_id=device_id, **ports))

    def start(self, **environment: str) -> None:
        self.lives += 1
        command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(self.file)]
        with (self.folder / f"log-{self.lives}.txt").open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, env={**os.environ, **environment})

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log()

    def log(self) -> str:
        return (self.folder / f"log-{self.lives}.txt").read_text()

    def until(self, words: str) -> None:
        assert self.process is not None
        wait_until(words, lambda: words in self.log() or self.process.poll() is not None)
        assert words in self.log()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path, ModbusField(free_port()))
    made.field.registers.update(dict.fromkeys(range(100, 116), 9_000))
    made.field.start()
    made.configure(device_id=1)
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        made.field.stop()


def test_a_configuration_that_stops_the_data_is_taken_back_and_not_tried_again(gateway):
    gateway.start()
    gateway.until("configuration_good version=1")
    gateway.configure(device_id=9)  # passes every check, and nobody answers there
    gateway.reload()
    gateway.until("configuration_on_trial version=2 wanted=bus/rs485")
    gateway.until("configuration_failed version=2 why='bus/rs485 stopped'")
    wait_until("the last good one runs", lambda: gateway.log().count("line_up bus_id=rs485") == 2)
    assert "taken back" in (gateway.folder / "audit.jsonl").read_text()
    gateway.reload()
    gateway.until("exactly this was tried and taken back")
    gateway.stop()

    gateway.start()
    gateway.until("configuration_refused running=1")
    gateway.until("line_up bus_id=rs485")
    assert "device_id = 9" in gateway.file.read_text(), "the engineer's file is never written by us"
    gateway.configure(device_id=1)
    gateway.reload()
    gateway.until("configuration_reread answer='unchanged'")


def test_a_file_with_a_fault_keeps_no_gateway_from_starting_that_ran_before(gateway):
    gateway.start()
    gateway.until("configuration_good version=1")
    gateway.stop()
    gateway.file.write_text('[gateway]\ngateway_id = "gw-1"\n[[bus]]\n')
    gateway.start()
    gateway.until("configuration_fault")
    gateway.until("configuration_refused running=1")
    gateway.until("line_up bus_id=rs485")


def test_without_a_good_version_a_file_with_a_fault_is_exit_code_2(gateway):
    gateway.file.write_text("[gateway]\n")
    gateway.start()
    assert gateway.process is not None
    assert gateway.process.wait(20) == 2
    assert "gateway_id" in gateway.log()


def test_systemd_hears_that_the_agent_is_ready_and_alive(gateway, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        gateway.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000")
        assert systemd.recv(64) == b"READY=1"
        assert [systemd.recv(64) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        gateway.stop()
