"""What we write to InfluxDB and ask of it, on a real InfluxDB 3: not in the suite, since no package registry has it.

    CITYSENSE_INFLUXDB_3=/path/to/influxdb3 .venv/bin/python -m pytest tests/influxdb_3_check.py

It is the server's own program (`influxdb3 --version`). Seen with InfluxDB 3 Core 3.6.0.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from contracts.fleet import Channel, Domain, Node, Site
from contracts.influx_schema import BUCKETS, COMPLETENESS_BUCKET, READINGS, series_tags
from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from contracts.record_message import HourOfGateway
from stream_processor.distributed.store_plan import build_completeness
from stream_processor.fleet_index import ChannelContext
from stream_processor.influx_reader import InfluxReader
from stream_processor.influx_sink import InfluxSettings, InfluxSink
from stream_processor.line_protocol import Body, Points, build_bodies, build_series, format_series
from tests.integration.test_grafana_queries import (
    ALL,
    NOTHING_TO_SHOW,
    SHAPES,
    bucket_of,
    dashboard,
    fill,
    run_target,
)
from tests.running_influxdb import DEADLINE_S, free_port, wait_until

PROGRAM = os.environ.get("CITYSENSE_INFLUXDB_3", "")
NAN = float("nan")
MS = 1_000_000


class RunningInfluxdb3:
    """One server with its data in a folder, and an admin token."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        admin = folder / "admin.json"
        subprocess.run(
            [PROGRAM, "create", "token", "--admin", "--offline", "--output-file", admin],
            check=True,
            capture_output=True,
        )
        self.token = json.loads(admin.read_text())["token"]
        self.token_file = folder / "token"
        self.token_file.write_text(f"{self.token}\n")
        self._command = [PROGRAM, "serve", "--node-id", "n1", "--object-store", "file", "--data-dir", folder / "data"]
        self._command += ["--http-bind", f"127.0.0.1:{self.port}", "--admin-token-file", admin]
        self._command += ["--disable-telemetry-upload"]

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until("influxdb3 answers", self._answers)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self._request("/ping"), timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _request(self, path: str, **query: str) -> urllib.request.Request:
        url = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        return urllib.request.Request(url, headers={"Authorization": f"Bearer {self.token}"})

    def ask(self, statement: str, database: str = READINGS.name) -> list[dict]:
        """The series of the answer to InfluxQL; times in milliseconds."""
        request = self._request("/query", q=statement, db=database, epoch="ms")
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
def running(folder: Path) -> Iterator[RunningInfluxdb3]:
    server = RunningInfluxdb3(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not PROGRAM:
        pytest.fail("CITYSENSE_INFLUXDB_3 does not say where influxdb3 is")
    with running(tmp_path_factory.mktemp("influxdb3")) as one:
        made = one.set_up()
        assert made.stdout.splitlines() == [f"database {each.name}: absent; done" for each in BUCKETS]
        yield one


def body_of(node: str, *rows: tuple[int, float, int, float]) -> Body:
    """One body of rows (time in ms, value, reason, score)."""
    series = build_series([format_series("gas", series_tags("harbour", "gw-1", node, "methane_lel"))])
    times, values, reasons, scores = zip(*rows, strict=True)
    points = Points(
        np.zeros(len(rows), np.intp),
        np.array(times, np.int64) * MS,
        np.array(values, np.float64),
        np.array(reasons, np.uint8),
        np.array(scores, np.float64),
    )
    (body,) = build_bodies(series, points)
    return body


def settings_of(server: RunningInfluxdb3, token_file: Path | None = None, **options: object) -> InfluxSettings:
    return InfluxSettings(
        url=server.url,
        org="-",
        token_file=token_file or server.token_file,
        retry_first_s=0.05,
        retry_max_s=0.2,
        **options,
    )


async def write(settings: InfluxSettings, body: Body, *, is_completeness: bool = False):
    async with InfluxSink(settings) as sink:
        work = sink.write_completeness(body) if is_completeness else sink.write(body)
        return await asyncio.wait_for(work, DEADLINE_S)


def stored(server: RunningInfluxdb3, node: str, field: str) -> dict[int, float]:
    """A field of a node's points, by time in ms."""
    rows = server.ask(f"SELECT \"{field}\" FROM gas WHERE node = '{node}'")
    return {time_ms: value for each in rows for time_ms, value in each["values"] if value is not None}


def start_of_test_ms() -> int:
    return time.time_ns() // MS - 10_000


def test_values_come_back_bit_by_bit_and_no_nan_is_written(server):
    start_ms = start_of_test_ms()
    values = [0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, -1e-7, 1e21, 123456789.12345679]
    rows = [(start_ms + at, value, Reason.OK, NAN) for at, value in enumerate(values)]
    bad = [(start_ms + 100, 900.0, Reason.OUT_OF_RANGE, NAN), (start_ms + 101, NAN, Reason.CRC_ERROR, NAN)]
    assert asyncio.run(write(settings_of(server), body_of("exact", *rows, *bad))) == []
    assert [each.hex() for each in stored(server, "exact", "value").values()] == [each.hex() for each in values]
    assert list(stored(server, "exact", "bad_value").values()) == [900.0]
    assert stored(server, "exact", "quality") == {
        start_ms + 100: int(Reason.OUT_OF_RANGE),
        start_ms + 101: int(Reason.CRC_ERROR),
    }


def test_scores_and_tags_with_what_lines_must_escape_come_back(server):
    start_ms = start_of_test_ms()
    node = r"a b,c=d\e"
    assert asyncio.run(write(settings_of(server), body_of(node, (start_ms, 1.5, Reason.OK, 0.71)))) == []
    (series,) = server.ask("SELECT value, score_ewma_z FROM gas WHERE value = 1.5 GROUP BY *")
    assert series["values"] == [[start_ms, 1.5, 0.71]]
    assert series["tags"]["node"] == node


def test_lines_that_are_refused_come_back_and_the_others_stand(server):
    start_ms = start_of_test_ms()
    good = body_of("partial", *((start_ms + at, float(at), Reason.OK, NAN) for at in range(100)))
    lines = good.text.split(b"\n")
    lines[40] = lines[40].replace(b"value=40.0", b'value="a text"')
    lines[77] = b"gas,node=partial nonsense"
    refused = asyncio.run(write(settings_of(server), Body(b"\n".join(lines), np.arange(100, dtype=np.intp))))
    assert [each.point_index for each in refused] == [40, 77]
    assert all(each.reason.startswith("400 ") for each in refused)
    assert len(stored(server, "partial", "value")) == 98


@pytest.mark.parametrize("name", ["_readings", "read ings", "x" * 65])
def test_a_wrong_name_of_the_database_is_waited_for_and_no_line_is_blamed(server, name):
    async def run():
        async with InfluxSink(settings_of(server, bucket=name)) as sink:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sink.write(body_of("name", (start_of_test_ms(), 1.0, Reason.OK, NAN))), 1.0)
            return sink.counters

    counters = asyncio.run(run())
    assert counters.refused_lines_total == 0
    assert "name" in counters.waiting_because


def test_a_wrong_token_is_waited_for(server, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("apiv3_wrong\n")

    async def run():
        async with InfluxSink(settings_of(server, wrong)) as sink:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sink.write(body_of("token", (start_of_test_ms(), 1.0, Reason.OK, NAN))), 1.0)
            return sink.counters

    counters = asyncio.run(run())
    assert (counters.refused_lines_total, counters.waiting_because[:3]) == (0, "401")


def test_while_the_server_is_killed_the_sink_waits_and_then_nothing_is_missing(tmp_path):
    with running(tmp_path) as server:
        start_ms = start_of_test_ms()

        async def run():
            async with InfluxSink(settings_of(server)) as sink:
                for number in range(20):
                    if number == 10:
                        await asyncio.to_thread(server.kill)
                        asyncio.get_running_loop().run_in_executor(None, server.start)
                    body = body_of(
                        "outage", *((start_ms + 100 * number + at, 1.0, Reason.OK, NAN) for at in range(100))
                    )
                    assert await asyncio.wait_for(sink.write(body), DEADLINE_S) == []
                return sink.counters.waits_total

        assert asyncio.run(run()) > 0
        assert len(stored(server, "outage", "value")) == 2_000


def test_check_names_what_differs_and_set_up_mends_it(server):
    assert (server.set_up("--check").returncode, server.set_up("--check").stdout) == (0, f"{server.url}: ok\n")
    change = urllib.request.Request(
        f"{server.url}/api/v3/configure/database",
        json.dumps({"db": "readings", "retention_period": "1d"}).encode(),
        {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(change, timeout=20).close()
    difference = "database readings: kept for 86400 s instead of 2592000 s"
    checked = server.set_up("--check")
    assert (checked.returncode, checked.stdout) == (1, f"{difference}\n")
    mended = server.set_up()
    assert (mended.returncode, mended.stdout) == (0, f"{difference}; done\n")
    assert server.set_up("--check").returncode == 0
    assert "has no tasks: readings_1m and readings_1h are for `stream-processor rebuild`" in mended.stderr


def test_a_wrong_token_of_set_up_is_one_line_and_exit_code_2(server):
    kept = server.token_file.read_text()
    server.token_file.write_text("apiv3_wrong\n")
    try:
        run = server.set_up("--check")
    finally:
        server.token_file.write_text(kept)
    assert (run.returncode, run.stdout, len(run.stderr.splitlines())) == (2, "", 1)
    assert "401" in run.stderr


def test_completeness_stands_in_its_database(server):
    hour_ns = time.time_ns() // 3_600_000_000_000 * 3_600_000_000_000
    body = build_completeness([HourOfGateway("harbour", "gw-1", hour_ns, 9, 10)])
    assert asyncio.run(write(settings_of(server), body, is_completeness=True)) == []
    (series,) = server.ask(
        "SELECT stored_batches, expected_batches, fraction FROM completeness", COMPLETENESS_BUCKET.name
    )
    assert series["values"] == [[hour_ns // MS, 9, 10, 0.9]]


def test_a_trend_is_that_of_what_was_written(server):
    from_ns = (time.time_ns() // 10_000_000_000 - 6) * 10_000_000_000
    from_ms = from_ns // MS
    rows = [(from_ms + 1_000 * at, float(at), Reason.OK, 0.6 if at == 7 else NAN) for at in range(20)]
    bad = [(from_ms + 12_500, 900.0, Reason.OUT_OF_RANGE, NAN), (from_ms + 13_500, NAN, Reason.CRC_ERROR, NAN)]
    asyncio.run(write(settings_of(server), body_of("trend", *rows, *bad)))
    place = {"name": "x", "latitude": 1.0, "longitude": 2.0}
    context = ChannelContext(
        Channel(channel_id=1, node_id="trend", quantity="methane_lel"),
        Node(node_id="trend", gateway_id="gw-1", bus_id="tcp", site_id="s", model="X"),
        Site(site_id="s", district_id="harbour", domain=Domain.GAS, **place),
        QUANTITIES["methane_lel"],
    )

    async def ask():
        async with InfluxReader(settings_of(server)) as reader:
            return await reader.trend(context, from_ns, from_ns + 20_000_000_000, 10_000_000_000)

    trend = asyncio.run(ask())
    assert trend.start_ns == [from_ns, from_ns + 10_000_000_000]
    assert (trend.minimum, trend.maximum, trend.mean) == ([0.0, 10.0], [9.0, 19.0], [4.5, 14.5])
    assert (trend.observation_count, trend.bad_count) == ([10, 12], [0, 2])
    assert trend.score_ewma_z_maximum == [0.6, None]


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    with running(tmp_path_factory.mktemp("influxdb3")) as one:
        assert one.set_up().returncode == 0
        yield fill(one, lambda _: None)


@pytest.mark.parametrize("place", SHAPES, ids=" / ".join)
def test_a_query_of_the_dashboards_is_answered_as_2_answers_it(city, place):
    columns, tags = SHAPES[place]
    found = run_target(city, *place, ALL)
    (panel,) = [each for each in dashboard(place[0])["panels"] if each["title"] == place[1]]
    (target,) = [each for each in panel["targets"] if each["refId"] == place[2]]
    bucket = bucket_of(target)
    is_filled_by_rebuild = (bucket.is_downsampled and bucket is not COMPLETENESS_BUCKET) or place == (
        "node",
        "By the hour",
        "A",
    )
    assert bool(found) is (place not in NOTHING_TO_SHOW and not is_filled_by_rebuild)
    for series in found:
        assert (series["columns"], set(series.get("tags", {}))) == (columns, tags)
