"""A real mosquitto, a tap before it, and a clock that gives up."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.wire_tap import WireTap

DEADLINE_S = 30.0


def wait_until(what: str, check: Callable[[], object], within_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _accepts(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def _running_mosquitto(folder: Path) -> Iterator[int]:
    port = _free_port()
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with (folder / "mosquitto.log").open("w") as log:
        process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stdout=log, stderr=log)
    try:
        wait_until("mosquitto listens", lambda: _accepts(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "mosquitto.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    return _free_port


@pytest.fixture(scope="session")
def running_mosquitto() -> Callable[[Path], contextlib.AbstractContextManager[int]]:
    return _running_mosquitto


@pytest.fixture
def tap(tmp_path: Path) -> Iterator[WireTap]:
    """A tap before a fresh mosquitto."""
    with _running_mosquitto(tmp_path) as port:
        tap = WireTap(port)
        try:
            yield tap
        finally:
            tap.close()
