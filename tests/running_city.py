"""A running `citysense run`, for tests: started as a newcomer does, looked at from outside, stopped with Ctrl-C."""

from __future__ import annotations

import contextlib
import json
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

UP_WITHIN_S = 60.0
"""Generous: tests share the machine. The promise (10 s) is measured by `make bench`."""
DOWN_WITHIN_S = 5.0
CONSOLE = re.compile(r"^Console   (http://127\.0\.0\.1:\d+)/$", re.MULTILINE)


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


def good_channels(running: RunningCity) -> int:
    """How many channels have a good last value, as the stream processor's read API says."""
    found = re.search(r"(http://127\.0\.0\.1:\d+)/v1/health", running.text)
    assert found
    token = (running.root / "secrets/viewer.token").read_text()
    request = urllib.request.Request(f"{found.group(1)}/v1/latest", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return sum(row["level"] == "good" for row in json.load(answer)["channels"])


def stop(running: RunningCity) -> None:
    """Ctrl-C, and the promise that belongs to it."""
    pids = running.pids()
    began = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(DOWN_WITHIN_S + 10) == 0, running.logs()
    assert time.monotonic() - began < DOWN_WITHIN_S
    assert [name for name, pid in pids.items() if is_alive(pid)] == []
