"""A real InfluxDB 1.8 for a test: with a user, on a free port, made ready by `broker-config`, killed at the end."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.stack.build_influxdb_1 import influxdb_1_entry
from tests.running_influxdb import free_port, wait_until

TOKEN = "founder:password-of-this-test"


class RunningInfluxdb1:
    """One server with its data in a folder."""

    token = TOKEN

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token_file = folder / "token"
        self.token_file.write_text(f"{TOKEN}\n")
        self._configuration = folder / "influxdb.conf"
        self._configuration.write_text(
            f"reporting-disabled = true\nbind-address = '127.0.0.1:{free_port()}'\n"
            f"[meta]\ndir = '{folder}/meta'\n"
            f"[data]\ndir = '{folder}/data'\nwal-dir = '{folder}/wal'\nindex-version = 'tsi1'\n"
            f"[http]\nbind-address = '127.0.0.1:{self.port}'\nauth-enabled = true\nlog-enabled = false\n"
            "[logging]\nlevel = 'error'\n"
        )

    def start(self) -> None:
        self._process = subprocess.Popen(
            [influxdb_1_entry() / "influxd", "run", "-config", self._configuration],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until("influxd 1.8 answers", self._answers)
        user, _, password = TOKEN.partition(":")
        self.ask(f"CREATE USER {user} WITH PASSWORD '{password}' WITH ALL PRIVILEGES")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5) as answer:
                return bool(answer.status == 204)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, statement: str, database: str = "") -> list[dict]:
        """The series of the answer, each with name, columns and values; times in milliseconds."""
        words = urllib.parse.urlencode({"q": statement, "db": database, "epoch": "ms"}).encode()
        request = urllib.request.Request(f"{self.url}/query", words, {"Authorization": f"Token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            (result,) = json.load(answer)["results"]
        assert "error" not in result, result
        return result.get("series", [])

    def set_up(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs `broker-config set-up-influxdb` on it."""
        command = [sys.executable, "-m", "broker_config.cli", "set-up-influxdb"]
        command += ["--url", self.url, "--org", "-", "--token-file", str(self.token_file), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


@contextmanager
def running_influxdb_1(folder: Path) -> Iterator[RunningInfluxdb1]:
    """A server with the databases and continuous queries of the schema."""
    server = RunningInfluxdb1(folder)
    try:
        server.start()
        run = server.set_up()
        assert run.returncode == 0, run.stderr
        yield server
    finally:
        server.kill()
