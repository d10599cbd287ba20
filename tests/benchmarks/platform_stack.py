"""Broker, registry, alarm service and embedded stream processor for a benchmark: the real programs, a fleet of one's
own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from contracts.access import hash_token

UP_WITHIN_S = 30.0
CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stack:
    """What runs, and how to ask it."""

    mqtt_port: int
    processor: subprocess.Popen[bytes]
    api: httpx.Client
    """The processor's read API."""

    def stored_total(self) -> int:
        return int(self.api.get("/v1/health").json()["stored_observations_total"])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(what: str, check: Callable[[], bool], within_s: float = UP_WITHIN_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not check():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {within_s} s: {what}")
        time.sleep(0.02)


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextlib.contextmanager
def program(folder: Path, module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of ours, from its module, with its log in the folder."""
    with (folder / f"{module.split('.', maxsplit=1)[0]}.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=CHECKOUT, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def mosquitto(folder: Path, port: int) -> Iterator[None]:
    """A broker on loopback without limits on queues, so that what is measured is not the broker's overflow."""
    executable = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if executable is None:
        raise FileNotFoundError("the benchmark needs mosquitto (Debian: apt install mosquitto)")
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
    process = subprocess.Popen([executable, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until("mosquitto listens", lambda: accepts(port))
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def platform(folder: Path, fleet_toml: str) -> Iterator[Stack]:
    """The platform with a fleet, up and connected to the broker."""
    token = secrets.token_urlsafe(32)
    (folder / "token").write_text(token)
    ports = {name: free_port() for name in ("mqtt", "registry", "alarms", "processor")}
    principal = f'[[principal]]\nname = "bench"\nrole = "%s"\ntoken_sha256 = "{hash_token(token)}"\n'
    for name in ("registry", "alarms"):
        (folder / f"{name}.toml").write_text(
            f'[http]\nport = {ports[name]}\n[store]\npath = "{name}.sqlite"\n{principal % "processor"}'
        )
    (folder / "processor.toml").write_text(
        f'[http]\nport = {ports["processor"]}\n[mqtt]\nport = {ports["mqtt"]}\n[store]\ndirectory = "store"\n'
        f'[registry]\nurl = "http://127.0.0.1:{ports["registry"]}"\ntoken_file = "token"\n'
        f'[alarm_service]\nurl = "http://127.0.0.1:{ports["alarms"]}"\ntoken_file = "token"\n{principal % "viewer"}'
    )
    (folder / "fleet.toml").write_text(fleet_toml)
    registry_config = str(folder / "registry.toml")
    fleet = str(folder / "fleet.toml")
    importing = [sys.executable, "-m", "device_registry.cli", "import", "--config", registry_config, fleet]
    subprocess.run(importing, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mosquitto(folder, ports["mqtt"]))
        stack.enter_context(program(folder, "device_registry.cli", "run", "--config", registry_config))
        stack.enter_context(program(folder, "alarm_service.cli", "run", "--config", str(folder / "alarms.toml")))
        wait_until("the registry listens", lambda: accepts(ports["registry"]))
        processor = stack.enter_context(
            program(folder, "stream_processor.cli", "run", "--config", str(folder / "processor.toml"))
        )
        wait_until("the processor listens", lambda: accepts(ports["processor"]))
        api = stack.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{ports['processor']}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=10.0,
            )
        )
        wait_until("the processor is at the broker", lambda: api.get("/v1/health").json()["is_broker_connected"])
        yield Stack(ports["mqtt"], processor, api)
