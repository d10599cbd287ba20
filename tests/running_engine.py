"""The distributed engine on real servers, for a test or a benchmark: every process by name, to be killed and started.

Mosquitto, Kafka, InfluxDB (if wanted behind a gate that can answer 503), registry, alarm service, bridge, score, store,
archive and read process, on ports of their own, with all files in one folder.
"""

from __future__ import annotations

import contextlib
import http.client
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from contracts.access import hash_token
from tests.running_influxdb import ORG, RunningInfluxdb
from tests.running_kafka import RunningKafka

CHECKOUT = Path(__file__).parents[1]
UP_WITHIN_S = 60.0
ROLES = ("bridge", "score", "store", "archive", "read")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(what: str, is_so: Callable[[], object], within_s: float = UP_WITHIN_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.05)


class Gate:
    """Passes requests to InfluxDB, or answers 503 while it is closed."""

    def __init__(self, target_port: int) -> None:
        gate = self
        self.is_closed = False
        self.refused = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass()

            def do_POST(self) -> None:
                self._pass()

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if gate.is_closed:
                    gate.refused += 1
                    self._answer(503, {}, b'{"code":"unavailable","message":"closed by the test"}')
                    return
                connection = http.client.HTTPConnection("127.0.0.1", target_port, timeout=60)
                try:
                    headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                    connection.request(self.command, self.path, body, headers)
                    answer = connection.getresponse()
                    self._answer(answer.status, dict(answer.getheaders()), answer.read())
                except OSError:
                    self._answer(503, {}, b'{"code":"unavailable","message":"InfluxDB is away"}')
                finally:
                    connection.close()

            def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
                self.send_response(status)
                for name in ("Content-Type", "Content-Encoding"):
                    if name in headers:
                        self.send_header(name, headers[name])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class RunningEngine:
    """All processes. `start`, `kill` (-9) and `stop` (SIGTERM) by name; a second worker is `score-2`, `store-2`."""

    def __init__(self, folder: Path, partitions: int, *, has_gate: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.partitions = partitions
        self.kafka = RunningKafka(folder / "kafka", partitions)
        (folder / "influxdb").mkdir()
        self.influxdb = RunningInfluxdb(folder / "influxdb")
        self.gate = Gate(self.influxdb.port) if has_gate else None
        self.ports = {name: free_port() for name in ("mqtt", "registry", "alarms", "read")}
        self.token = secrets.token_urlsafe(32)
        self.token_file = folder / "token"
        self.token_file.write_text(self.token)
        self.archive_age_s = 10.0
        """The archive closes its files early, so that they can be read soon."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def parquet(self) -> Path:
        """Where the archive's closed files stand."""
        return self.folder / "archive/parquet"

    def api(self, service: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.ports[service]}", headers=headers, timeout=10.0)

    def start_servers(self) -> None:
        self.kafka.start()
        self.influxdb.start()
        self.influxdb.make_organisation()
        done = self.influxdb.set_up()
        assert done.returncode == 0, done.stderr
        self.start("mosquitto")

    def import_fleet(self, fleet: Path) -> None:
        """Into the registry, before it runs."""
        self._write_configurations()
        command = [sys.executable, "-m", "device_registry.cli", "import", "--config", self._config("registry"), fleet]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    def start_platform(self) -> None:
        for name in ("registry", "alarms"):
            self.start(name)
        wait_until("the registry answers", lambda: accepts(self.ports["registry"]))
        for role in ROLES:
            self.start(role)
        wait_until("the read process answers", lambda: accepts(self.ports["read"]))
        wait_until("the bridge is at the broker", lambda: "broker_connected" in self.log("bridge"))

    def start(self, name: str) -> None:
        assert name not in self.processes or self.processes[name].poll() is not None, f"{name} runs"
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self._command(name), cwd=CHECKOUT, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        if name == "mosquitto":
            wait_until("mosquitto listens", lambda: accepts(self.ports["mqtt"]))

    def kill(self, name: str) -> None:
        """-9."""
        if name == "kafka":
            self.kafka.kill()
        elif name == "influxdb":
            self.influxdb.kill()
        else:
            self.processes[name].kill()
            self.processes[name].wait()

    def restart(self, name: str) -> None:
        """After `kill`."""
        if name == "kafka":
            self.kafka.start()
        elif name == "influxdb":
            self.influxdb.start()
        else:
            self.start(name)

    def stop(self, name: str, within_s: float = 15.0) -> int:
        """SIGTERM; gives the exit code."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(within_s)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def end(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        with contextlib.suppress(Exception):
            self.kafka.kill()
        with contextlib.suppress(Exception):
            self.influxdb.kill()
        if self.gate is not None:
            self.gate.close()

    def _command(self, name: str) -> list[str]:
        program = name.partition("-")[0]
        if program == "mosquitto":
            executable = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
            assert executable is not None
            configuration = self.folder / "mosquitto.conf"
            configuration.write_text(
                f"listener {self.ports['mqtt']} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n"
                "max_inflight_messages 1000\n"
            )
            return [executable, "-c", str(configuration)]
        if program == "registry":
            return [sys.executable, "-m", "device_registry.cli", "run", "--config", self._config(name)]
        if program == "alarms":
            return [sys.executable, "-m", "alarm_service.cli", "run", "--config", self._config(name)]
        return [sys.executable, "-m", "stream_processor.cli", program, "--config", self._config(name)]

    def _config(self, name: str) -> str:
        return str(self.folder / f"{name}.toml")

    def _write_configurations(self) -> None:
        principal = f'[[principal]]\nname = "test"\nrole = "%s"\ntoken_sha256 = "{hash_token(self.token)}"\n'
        kafka = f'[kafka]\nservers = ["{self.kafka.address}"]\npartitions = {self.partitions}\n'
        registry = f'[registry]\nurl = "http://127.0.0.1:{self.ports["registry"]}"\ntoken_file = "token"\n'
        influxdb_port = self.influxdb.port if self.gate is None else self.gate.port
        influxdb = (
            f'[influxdb]\nurl = "http://127.0.0.1:{influxdb_port}"\norg = "{ORG}"\n'
            f'token_file = "{self.influxdb.token_file}"\n'
        )
        http = {name: f"[http]\nport = {port}\n" for name, port in self.ports.items()}
        texts = {
            "registry": http["registry"] + '[store]\npath = "registry.sqlite"\n' + principal % "processor",
            "alarms": http["alarms"]
            + '[store]\npath = "alarms.sqlite"\n'
            + f'[kafka]\nservers = ["{self.kafka.address}"]\n'
            + principal % "engineer",
            "bridge": f'directory = "bridge"\n[mqtt]\nport = {self.ports["mqtt"]}\n' + kafka + registry,
            "score": kafka
            + '[job]\ngroup = "score"\nworker = "score-1"\n[score]\nfleet_file = "score.json"\n'
            + registry,
            "store": 'directory = "store"\n'
            + kafka
            + '[job]\ngroup = "store"\nworker = "store-1"\n'
            + influxdb
            + registry,
            "archive": kafka + f'[archive]\ndirectory = "archive"\nmax_age_s = {self.archive_age_s}\n' + registry,
            "read": 'directory = "read"\n' + http["read"] + kafka + influxdb + registry + principal % "engineer",
        }
        for role in ("score", "store"):
            texts[f"{role}-2"] = texts[role].replace(f'"{role}-1"', f'"{role}-2"')
        for name, text in texts.items():
            (self.folder / f"{name}.toml").write_text(text)


@contextlib.contextmanager
def running_engine(folder: Path, partitions: int = 4, *, has_gate: bool = True) -> Iterator[RunningEngine]:
    """The servers; `import_fleet` and `start_platform` come next. Without the gate InfluxDB costs no Python."""
    engine = RunningEngine(folder, partitions, has_gate=has_gate)
    try:
        engine.start_servers()
        yield engine
    finally:
        engine.end()
