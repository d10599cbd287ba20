"""Does a fleet of 100,000 nodes fit the index of InfluxDB? 300,000 series into a real server, and questions to it.

1,000 gateways in 20 districts, 100 nodes a gateway in 6 domains, 3 channels a node: all tags of the schema, several
points a series with value and score, written as the store job writes them. The tasks that downsample rest meanwhile;
at the end the one-minute task of one domain runs once over what was written, and is given up after some time.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np

from contracts.fleet import Domain
from contracts.influx_schema import READINGS, READINGS_1M, series_tags
from stream_processor.influx_sink import InfluxSettings, InfluxSink
from stream_processor.line_protocol import Points, build_bodies, build_series, format_series
from tests.running_influxdb import ORG, TOKEN, RunningInfluxdb, running_influxdb

DISTRICTS: Final = 20
GATEWAYS: Final = 1_000
NODES: Final = 100_000
QUANTITIES: Final = ("methane_lel", "temperature", "pressure")
SERIES: Final = NODES * len(QUANTITIES)
ROUNDS: Final = 4
QUESTION_LIMIT_S: Final = 30.0
TASK_LIMIT_S: Final = 90.0
CONNECTIONS: Final = 4
DOMAINS: Final = tuple(Domain)


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    with tempfile.TemporaryDirectory(prefix="citysense-bench-index-") as name, running_influxdb(Path(name)) as server:
        tasks = {task["name"]: task["id"] for task in server.call("GET", "/api/v2/tasks")["tasks"]}
        for task_id in tasks.values():
            server.call("PATCH", f"/api/v2/tasks/{task_id}", {"status": "inactive"})
        before = _resident_mib(server)
        start_ns = (time.time_ns() // 1_000_000_000 - 600) * 1_000_000_000
        first_s, later_s = asyncio.run(_write(server, start_ns))
        yield (
            f"  {SERIES:,} series written: the first point of each {SERIES / first_s:,.0f} points/s, "
            f"later ones {(ROUNDS - 1) * SERIES / later_s:,.0f} points/s"
        )
        yield (
            f"  influxd resident: {before:.0f} MiB before, {_resident_mib(server):.0f} MiB after; on disk: series file "
            f"{_disk_mib(Path(name), '_series'):.0f} MiB, index {_disk_mib(Path(name), 'index'):.0f} MiB"
        )
        for what, question in _questions():
            took_s, rows = _timed(server, question)
            yield f"  {what}: {1e3 * took_s:,.0f} ms, {rows:,} series in the answer"
        yield _run_task(server, tasks[f"citysense {READINGS_1M.name} {DOMAINS[0]}"])


def _run_task(server: RunningInfluxdb, task_id: str) -> str:
    """How long one run takes, and what memory the server has meanwhile."""
    server.call("PATCH", f"/api/v2/tasks/{task_id}", {"status": "active"})
    began_s = time.monotonic()
    run_id = server.call("POST", f"/api/v2/tasks/{task_id}/runs", {})["id"]
    highest, status = 0.0, "scheduled"
    while status not in {"success", "failed", "canceled"} and time.monotonic() - began_s < TASK_LIMIT_S:
        time.sleep(1.0)
        highest = max(highest, _resident_mib(server))
        status = server.call("GET", f"/api/v2/tasks/{task_id}/runs/{run_id}")["status"]
    took_s = time.monotonic() - began_s
    return (
        f"  one run of the one-minute task of one domain of six: {status} after {took_s:.0f} s, "
        f"influxd resident {highest:,.0f} MiB at most"
    )


async def _write(server: RunningInfluxdb, start_ns: int) -> tuple[float, float]:
    """Seconds of the first round and of all others."""
    series = build_series(
        format_series(
            DOMAINS[node % len(DOMAINS)],
            series_tags(
                f"district-{node // 100 % DISTRICTS:02d}", f"gw-{node // 100:04d}", f"node-{node:06d}", quantity
            ),
        )
        for node, quantity in product(range(NODES), QUANTITIES)
    )
    settings = InfluxSettings(url=server.url, org=ORG, token_file=server.token_file, request_timeout_s=60.0)
    took_s = []
    async with InfluxSink(settings) as sink:
        for turn in range(ROUNDS):
            began_s = time.monotonic()
            await asyncio.gather(
                *(_write_lane(sink, series, lane, start_ns + turn * 60 * 1_000_000_000) for lane in range(CONNECTIONS))
            )
            took_s.append(time.monotonic() - began_s)
    return took_s[0], sum(took_s[1:])


async def _write_lane(sink: InfluxSink, series: object, lane: int, time_ns: int) -> None:
    rows = np.arange(lane, SERIES, CONNECTIONS)
    chance = np.random.default_rng(lane)
    points = Points(
        rows,
        time_ns + rows % 1_000 * 1_000_000,
        np.round(chance.normal(20.0, 5.0, len(rows)), 1),
        np.zeros(len(rows), np.uint8),
        np.round(chance.normal(0.0, 1.0, len(rows)), 3),
    )
    for body in build_bodies(series, points):
        assert await sink.write(body) == []


def _questions() -> Iterator[tuple[str, str]]:
    """As a dashboard asks them: with a span of time."""
    node = 12_342
    domain = DOMAINS[node % len(DOMAINS)]
    since = "time > now() - 1h"
    yield (
        "one node, all of its channels",
        (
            f'SELECT mean("value") FROM "{domain}" WHERE "node" = \'node-{node:06d}\' AND {since} '
            'GROUP BY time(1m), "quantity" fill(none)'
        ),
    )
    yield (
        "last value of each channel of a gateway",
        (f'SELECT last("value") FROM /.*/ WHERE "gateway" = \'gw-0123\' AND {since} GROUP BY "node", "quantity"'),
    )
    yield (
        "last value of each channel of a district and domain",
        (
            f'SELECT last("value") FROM "{domain}" WHERE "district" = \'district-03\' AND {since} '
            'GROUP BY "node", "quantity"'
        ),
    )
    yield (
        "last value of every channel of a domain",
        (f'SELECT last("value") FROM "{domain}" WHERE {since} GROUP BY "node", "quantity"'),
    )


def _timed(server: RunningInfluxdb, question: str) -> tuple[float, int]:
    began_s = time.monotonic()
    try:
        count = len(_result(server, question).get("series", []))
    except TimeoutError:
        count = 0
    return time.monotonic() - began_s, count


def _result(server: RunningInfluxdb, question: str) -> dict[str, list]:
    query = urllib.parse.urlencode({"db": READINGS.name, "q": question})
    request = urllib.request.Request(f"{server.url}/query?{query}", headers={"Authorization": f"Token {TOKEN}"})
    with urllib.request.urlopen(request, timeout=QUESTION_LIMIT_S) as answer:
        (result,) = json.load(answer)["results"]
    assert "error" not in result, result
    return result


def _resident_mib(server: RunningInfluxdb) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _disk_mib(folder: Path, kind: str) -> float:
    """All files below folders of that name."""
    paths = (Path(parent, file) for parent, _, files in os.walk(folder) if kind in Path(parent).parts for file in files)
    return sum(path.stat().st_size for path in paths) / 2**20
