"""A console process against three small real HTTP servers that answer the contract's routes (one per service).

The servers stand in for registry, alarm service and stream processor: same routes, same models, real sockets, so that
a test can stop one, let one hang, and change what it says. `tests/integration` proves the real ones elsewhere.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from contracts.alarm import Acknowledgement, Alarm, AlarmPage, AlarmState
from contracts.fleet import FleetSnapshot
from contracts.query import ChannelLatest, GatewayHealth, LatestPage, PipelineHealth, QuarantinePage, Trend

ROOT = Path(__file__).parents[3]
TOKEN = "a-token-for-the-console"
SECOND_NS = 1_000_000_000


def wait_until(is_so, what, timeout_s=10.0):
    """Polls with a deadline; the message says what did not come."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = is_so()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s: {what}")


class Service:
    """One FastAPI application on a port of its own, that can be stopped, started again on that port, and hung."""

    def __init__(self, add_routes):
        self._reservation = socket.socket()  # bound and not listening: nobody else is given the port meanwhile
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind(("127.0.0.1", 0))
        self.port = self._reservation.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.is_hung = False
        self.is_closing = False
        self._add_routes = add_routes
        self._server = None

    def start(self):
        app = FastAPI()

        @app.middleware("http")
        async def check(request: Request, call_next):
            while self.is_hung and not self.is_closing:  # noqa: ASYNC110 - set from the test's thread
                await asyncio.sleep(0.05)
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                return Response(status_code=401)
            return await call_next(request)

        self._add_routes(app, self)
        self.is_closing = False
        config = uvicorn.Config(app, host="127.0.0.1", port=self.port, log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, "the stand-in service is up")

    def stop(self):
        self.is_closing = True
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def release(self):
        """Gives the port back."""
        self._reservation.close()


async def poll(service, has_changed, wait_s):
    deadline = time.monotonic() + wait_s
    while not has_changed() and time.monotonic() < deadline and not service.is_closing:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.005)


class City:
    """What the three services say. Methods are called from the test's thread; each sets whole new values."""

    def __init__(self):
        self.fleet = FleetSnapshot(**FLEET)
        self.alarms = {}
        self.alarm_revision = 0
        self.latest = {}
        self.latest_revision = 0
        self.acknowledgements = []
        self.is_broker_connected = True
        self.has_scores = True
        """Whether trends have any."""
        self.outbox_events = 0
        self.losses = None
        """What gw-1 says that it had to give up."""
        self.unscored_batches_total = 0
        self.alarm_service = Service(self._alarm_routes)
        self.registry = Service(self._registry_routes)
        self.stream_processor = Service(self._stream_routes)
        self.services = (self.alarm_service, self.registry, self.stream_processor)

    def raise_alarm(self, **fields):
        now = time.time_ns()
        revision = self.alarm_revision + 1
        alarm = Alarm(**{**ALARM, "phenomenon_ns": now, "raised_ns": now, **fields, "revision": revision})
        self.alarms[alarm.alarm_id] = alarm
        self.alarm_revision = revision
        return alarm

    def report(self, *rows):
        revision = self.latest_revision + 1
        for channel_id, fields in rows:
            now = time.time_ns()
            row = {"channel_id": channel_id, "phenomenon_ns": now, "received_ns": now, **LATEST, **fields}
            self.latest[channel_id] = (revision, ChannelLatest(**row))
        self.latest_revision = revision

    def _alarm_routes(self, app, service):
        @app.get("/v1/alarms")
        async def alarms(changed_after: int = 0, wait_s: float = 0.0) -> AlarmPage:
            await poll(service, lambda: self.alarm_revision > changed_after, wait_s)
            found = [alarm for alarm in list(self.alarms.values()) if alarm.revision > changed_after]
            if not changed_after:
                found = [alarm for alarm in found if alarm.state is not AlarmState.NORMAL]
            return AlarmPage(revision=self.alarm_revision, alarms=found)

        @app.post("/v1/alarms/{alarm_id}/acknowledge")
        async def acknowledge(alarm_id: int, body: Acknowledgement):
            alarm = self.alarms[alarm_id]
            if alarm.state is AlarmState.NORMAL:
                return Response(status_code=409)
            self.acknowledgements.append((alarm_id, body.by))
            state = AlarmState.ACKNOWLEDGED if alarm.is_active else AlarmState.NORMAL
            done = {"state": state, "acknowledged_ns": time.time_ns(), "acknowledged_by": body.by}
            return self.raise_alarm(**{**alarm.model_dump(), **done})

    def _registry_routes(self, app, service):
        @app.get("/v1/fleet")
        async def fleet(known_revision: int | None = None, wait_s: float = 0.0):
            if known_revision is not None:
                await poll(service, lambda: self.fleet.revision != known_revision, wait_s)
            if self.fleet.revision == known_revision:
                return Response(status_code=304)
            return self.fleet

    def _stream_routes(self, app, service):
        @app.get("/v1/latest")
        async def latest(changed_after: int = 0, wait_s: float = 0.0) -> LatestPage:
            await poll(service, lambda: self.latest_revision > changed_after, wait_s)
            rows = [row for revision, row in list(self.latest.values()) if revision > changed_after]
            return LatestPage(revision=self.latest_revision, channels=rows)

        @app.get("/v1/health")
        async def health() -> PipelineHealth:
            gateways = [
                GatewayHealth(
                    gateway_id="gw-1", is_online=True, epoch=1, last_payload_ns=time.time_ns(), losses=self.losses
                )
            ]
            return PipelineHealth(
                is_broker_connected=self.is_broker_connected,
                stored_observations_total=1,
                duplicate_batches_total=0,
                quarantined_total=3,
                unscored_batches_total=self.unscored_batches_total,
                shed_batches_total=0,
                queued_batches=0,
                outbox_events=self.outbox_events,
                gateways=gateways,
            )

        @app.get("/v1/quarantine")
        async def quarantine() -> QuarantinePage:
            row = {
                "received_ns": time.time_ns(), "topic": "spBv1.0/east/DDATA/gw-9/bus-1", "reason": "unknown_node",
                "detail": "no node <b>n-99</b>", "payload_hex": "0800",
            }  # fmt: skip
            return QuarantinePage(totals={"unknown_node": 3}, newest=[row])

        @app.get("/v1/channels/{channel_id}/trend")
        async def trend(channel_id: int, from_ns: int, to_ns: int, buckets: int) -> Trend:
            bucket = (to_ns - from_ns) // buckets
            starts = [from_ns + at * bucket for at in range(buckets) if not 100 <= at < 130]
            is_bad = [200 <= at < 240 for at in range(len(starts))]
            mean = [None if bad else 2 + (at % 40) / 4 for at, bad in enumerate(is_bad)]
            return Trend(
                channel_id=channel_id, from_ns=from_ns, to_ns=to_ns, bucket_ns=bucket, start_ns=starts,
                minimum=[None if one is None else one - 1 for one in mean],
                maximum=[None if one is None else one + 1.5 for one in mean],
                mean=mean, score_ewma_z_maximum=[None if bad or not self.has_scores else 0.1 for bad in is_bad],
                scores_maximum=trend_scores(is_bad) if self.has_scores else {},
                observation_count=[2] * len(starts), bad_count=[2 if bad else 0 for bad in is_bad],
            )  # fmt: skip


def trend_scores(is_bad):
    """As InfluxDB has them: from 0.5 on; one score that stands alone, and a run of them."""
    novelty = [0.5 + at % 40 / 100 if at % 40 > 20 and not bad else None for at, bad in enumerate(is_bad)]
    rate = [0.75 if at in {50, 51, 180} else None for at, _ in enumerate(is_bad)]
    return {"score_novelty": novelty, "score_rate_of_change": rate}


FLEET = {
    "revision": 1,
    "districts": [{"district_id": "east", "name": "East district"}],
    "sites": [
        {
            "site_id": "gas-1", "district_id": "east", "domain": "gas", "name": "Gas station Nanhu Road",
            "latitude": 31.2, "longitude": 121.5,
        },
        {
            "site_id": "bridge-1", "district_id": "east", "domain": "bridge", "name": "Second River Bridge",
            "latitude": 31.3, "longitude": 121.6,
        },
    ],
    "gateways": [{"gateway_id": "gw-1", "district_id": "east", "name": "Gateway 1"}],
    "nodes": [
        {"node_id": "gd-0001", "gateway_id": "gw-1", "bus_id": "bus-1", "site_id": "gas-1", "model": "gas-detector"},
        {"node_id": "sg-0001", "gateway_id": "gw-1", "bus_id": "bus-2", "site_id": "bridge-1", "model": "logger"},
    ],
    "channels": [
        {"channel_id": 1, "node_id": "gd-0001", "quantity": "methane_lel"},
        {"channel_id": 2, "node_id": "gd-0001", "quantity": "carbon_monoxide"},
        {"channel_id": 3, "node_id": "sg-0001", "quantity": "strain"},
        {"channel_id": 4, "node_id": "sg-0001", "quantity": "temperature"},
    ],
    "conditions": [
        {
            "condition_id": "gd-0001-high", "channel_id": 1, "set_point": 25.0, "priority": 1, "colour": "red",
            "title": "Methane above 25 %LEL",
        },
        {
            "condition_id": "gd-0001-warn", "channel_id": 1, "set_point": 10.0, "priority": 2, "colour": "orange",
            "title": "Methane above 10 %LEL",
        },
    ],
}  # fmt: skip

ALARM = {
    "alarm_id": 1, "state": "unacknowledged", "is_active": True, "condition_id": "gd-0001-high", "channel_id": 1,
    "title": "Methane above 25 %LEL", "priority": 1, "colour": "red", "district_id": "east", "site_id": "gas-1",
    "gateway_id": "gw-1", "node_id": "gd-0001", "quantity": "methane_lel", "unit": "%{LEL}", "set_point": 25.0,
    "value": 27.34, "input": "value", "input_value": 27.34,
}  # fmt: skip

LATEST = {
    "value": 2.0, "level": "good", "reason": "ok", "score_ewma_z": 0.4, "last_good_value": 2.0, "last_good_ns": 1,
}  # fmt: skip


class ConsoleProcess:
    """`city-console run` in a process of its own."""

    def __init__(self, folder, city):
        self.folder = folder
        self.config = folder / "console.toml"
        (folder / "token").write_text(TOKEN + "\n")
        (folder / "token").chmod(0o600)
        self.config.write_text(
            f"""
[http]
port = 0
[store]
path = "console.sqlite"
[city]
name = "Test <city>"
[registry]
url = "{city.registry.url}"
token_file = "token"
[alarm_service]
url = "{city.alarm_service.url}"
token_file = "token"
[stream_processor]
url = "{city.stream_processor.url}"
token_file = "token"
"""
        )
        self.process = None

    def start(self):
        self.log = (self.folder / "console.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "console.cli", "run", "--config", str(self.config)],
            cwd=ROOT, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        offset = self.log.tell()
        self.url = wait_until(lambda: self._listening(offset), "the console listens: see console.log", 15)

    def read_log(self):
        return (self.folder / "console.log").read_text()

    def stop(self, number=signal.SIGTERM):
        """Sends the signal; gives the exit code and the seconds that it took."""
        began = time.monotonic()
        os.kill(self.process.pid, number)
        try:
            code = self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()
        return code, time.monotonic() - began

    def issue_password(self, *arguments):
        command = [sys.executable, "-m", "console.cli", "issue-password", "--config", str(self.config)]
        done = subprocess.run([*command, *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def client(self):
        return httpx.Client(base_url=self.url, trust_env=False, timeout=10)

    @contextlib.contextmanager
    def signed_in_client(self, name="Li Wei"):
        with self.client() as client:
            answer = client.post("/login", data={"name": name, "password": self.issue_password()})
            assert answer.status_code == 303, answer.text
            page = client.get("/").text
            client.headers["X-CSRF-Token"] = re.search(r'"X-CSRF-Token": "([0-9a-f]{64})"', page).group(1)
            yield client

    def _listening(self, offset):
        if self.process.poll() is not None:
            raise AssertionError(f"the console ended with {self.process.returncode}: {self.read_log()}")
        found = re.findall(r"event=listening url=(\S+)", self.read_log()[offset:])
        return found[-1].rstrip("/") if found else None


@pytest.fixture
def eventually():
    return wait_until


@pytest.fixture
def city():
    made = City()
    for service in made.services:
        service.start()
    made.report(
        (1, {"value": 2.04}),
        (2, {"value": 3.0}),
        (3, {"value": 112.3, "level": "uncertain", "reason": "clock_suspect"}),
    )
    yield made
    for service in made.services:
        if not service.is_closing:
            service.stop()
        service.release()


@pytest.fixture
def console(city, tmp_path):
    made = ConsoleProcess(tmp_path, city)
    made.start()
    with contextlib.closing(made.log):
        yield made
        if made.process.poll() is None:
            made.stop()
