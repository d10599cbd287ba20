"""A real InfluxDB of its own for a test: started on a free port, set up by `broker-config`, killed at the end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from influxdb_client.client.influxdb_client import InfluxDBClient

from contracts.influx_schema import READINGS
from deploy.layout import RunDirectory
from deploy.stack import recipe
from deploy.stack.find_servers import find_servers
from deploy.stack.recipe import Executables, Facts

ORG = "city"
TOKEN = "token-of-this-test"
DEADLINE_S = 40.0


def wait_until(what: str, is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RunningInfluxdb:
    """One server with its data in a folder; it can be killed and started again."""

    token = TOKEN

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token_file = folder / "token"
        self.token_file.write_text(f"{TOKEN}\n")
        found = Executables(influxd=find_servers(["influxdb"], print, may_make=False).influxd)
        facts = Facts(True, "", is_postgresql_initialised=True, as_postgresql_user=())
        (self._server,) = recipe.plan_servers(RunDirectory(str(folder)), {"influxdb": self.port}, found, facts)

    def start(self) -> None:
        (self.folder / "data/influxdb").mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            self._server.argv,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until("influxd is ready", self.is_ready)

    def is_ready(self) -> bool:
        try:
            return self.call("GET", "/health")["status"] == "pass"
        except (urllib.error.URLError, OSError):
            return False

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def call(self, method: str, path: str, document: object = None) -> dict:
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, {"Authorization": f"Token {TOKEN}"}, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def make_organisation(self) -> None:
        names = {"username": "founder", "password": "password-of-this-test", "org": ORG, "token": TOKEN}
        self.call("POST", "/api/v2/setup", {**names, "bucket": "unused"})

    def set_up(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs `broker-config set-up-influxdb` on it."""
        command = [sys.executable, "-m", "broker_config.cli", "set-up-influxdb"]
        command += ["--url", self.url, "--org", ORG, "--token-file", str(self.token_file), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def stored(self, node: str, bucket: str = READINGS.name) -> dict[tuple[str, int], float | int]:
        """What the server has of a node, by field and time in milliseconds."""
        query = f'from(bucket: "{bucket}") |> range(start: 0) |> filter(fn: (r) => r.node == "{node}")'
        with InfluxDBClient(self.url, TOKEN, org=ORG) as client:
            records = [record for table in client.query_api().query(query) for record in table.records]
        return {
            (record.get_field(), round(record.get_time().timestamp() * 1000)): record.get_value() for record in records
        }


@contextmanager
def running_influxdb(folder: Path) -> Iterator[RunningInfluxdb]:
    """A server with the buckets and tasks of the schema."""
    server = RunningInfluxdb(folder)
    try:
        server.start()
        server.make_organisation()
        run = server.set_up()
        assert run.returncode == 0, run.stderr
        yield server
    finally:
        server.kill()
