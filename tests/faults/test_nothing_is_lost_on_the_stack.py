"""Promise 1 on the distributed engine: what a gateway has committed to its spool is in InfluxDB, whoever is killed.

The demonstration city on Mosquitto, Kafka, InfluxDB and PostgreSQL. The witness is a trigger in the agents' spool files
(simulators/spool_ledger.py).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from types import SimpleNamespace

import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient

from contracts.influx_schema import BAD_VALUE, READINGS, TAG_NODE, TAG_QUANTITY, VALUE
from contracts.score import SCORES
from deploy.stack import recipe
from simulators.spool_ledger import attach_spool_ledger
from tests.faults.test_alarms_come_through import Emergency, kill_and_wait_for_the_next
from tests.faults.test_nothing_is_lost import spools, wait_until_drained
from tests.integration.test_grafana_queries import ALL, SHAPES, City, run_target
from tests.running_city import RunningCity, city, stop

VICTIMS = ("bridge", "score", "store", "kafka", "influxdb", "postgresql", "broker", "gw-harbour")
BETWEEN_S = 5.0
UP_WITHIN_S = 120.0

CAUSES = "Readings that are not good, by cause"
SCORES_OF_A_LEAK = {"score_ewma_z", "score_rate_of_change", "score_novelty"}
"""The others are in no default set, or warm up for longer than this test."""
MAY_BE_EMPTY = {
    *(
        (*place, ref_id)
        for ref_id, score in zip(ascii_uppercase, SCORES, strict=False)
        if score not in SCORES_OF_A_LEAK
        for place in (("city", "Highest scores"), ("node", "Score"))
    ),
    ("node", "By the hour", "A"),  # computed every hour
    ("pipeline", "Readings per second", "A"),  # computed every ten minutes
    ("pipeline", "Missing batches", "A"),
    ("pipeline", "Stale channels", "A"),
    *(("pipeline", CAUSES, cause) for cause in "ABCDE"),
}
"""Queries that find nothing in a city that is young or well."""
PANELS_WITHIN_S = 75.0

Key = tuple[str, str, int]
"""node, quantity, phenomenon time in ns."""


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter too (pytest's are closed to it)."""
    with tempfile.TemporaryDirectory(prefix="citysense-stack-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


def influxdb_of(running: RunningCity) -> tuple[str, str]:
    """Its URL and a token."""
    found = re.search(r"^  influxdb\s+\d+\s+(http://\S+)", running.text, re.MULTILINE)
    assert found, running.text
    return found.group(1), (running.root / "secrets/influxdb.token").read_text()


def empty_panels(running: RunningCity) -> list[tuple[str, str, str]]:
    """Queries of the dashboards that find nothing in what the city has stored."""
    url, token = influxdb_of(running)
    answers = City(SimpleNamespace(url=url, token=token), time.time_ns(), 0, 0)
    return [place for place in SHAPES if not run_target(answers, *place, ALL)]


def stored(running: RunningCity, since_ns: int) -> dict[Key, dict[str, float]]:
    """What InfluxDB holds since a time: fields by channel and time."""
    url, token = influxdb_of(running)
    query = f'from(bucket: "{READINGS.name}") |> range(start: time(v: {since_ns}))'
    points: dict[Key, dict[str, float]] = {}
    with InfluxDBClient(url, token, org=recipe.ORGANISATION, timeout=60_000) as client:
        for table in client.query_api().query(query):
            for record in table.records:
                if TAG_NODE in record.values:
                    time_ns = round(record.get_time().timestamp() * 1_000) * 1_000_000
                    key = (record.values[TAG_NODE], record.values[TAG_QUANTITY], time_ns)
                    points.setdefault(key, {})[record.get_field()] = record.get_value()
    return points


def number_of(point: dict[str, float]) -> float | None:
    """Good or uncertain, or what came with bad quality."""
    return point.get(VALUE, point.get(BAD_VALUE))


@pytest.mark.needs_mosquitto
@pytest.mark.needs_kafka
@pytest.mark.needs_influxdb
@pytest.mark.needs_postgresql
@pytest.mark.timeout(600)
def test_whoever_is_killed_every_committed_reading_is_in_influxdb_and_the_alarm_comes() -> None:
    with open_folder() as folder, city(folder / "run", "--stack") as running:
        running.wait_until("both gateways online", lambda: "all 2 gateways are online" in running.text, UP_WITHIN_S)
        for spool in spools(running):
            attach_spool_ledger(spool)
        since_ns = time.time_ns()
        desk = Emergency(running)
        for victim in VICTIMS:
            time.sleep(BETWEEN_S)
            kill_and_wait_for_the_next(running, victim)
        node = "gas-saltworks-03"  # killed while its alarm is active: not told twice, and it returns
        desk.leak(node)
        desk.wait_for("the alarm", lambda: f"{node}.methane-25" in desk.alarms(node))
        kill_and_wait_for_the_next(running, "score")
        time.sleep(BETWEEN_S)
        desk.clear(node)
        desk.wait_for("the return", lambda: desk.alarms(node).get(f"{node}.methane-25") == "returned_unacknowledged")
        assert desk.journal_kinds(f"{node}.methane-25") == ["activated", "returned"]
        committed = wait_until_drained(running)
        deadline_s = time.monotonic() + PANELS_WITHIN_S
        while (empty := set(empty_panels(running)) - MAY_BE_EMPTY) and time.monotonic() < deadline_s:
            time.sleep(2.0)
        assert not empty
        os.kill(running.pids()["gw-harbour"], signal.SIGSTOP)  # nothing more is committed while we look
        points = stored(running, since_ns)
        os.kill(running.pids()["gw-harbour"], signal.SIGCONT)
        stop(running)

    rows = [row for each in committed.values() for row in each if row.phenomenon_ns >= since_ns]
    keys = [(row.node_id, row.quantity, row.phenomenon_ns) for row in rows]
    assert len(keys) == len(set(keys))
    assert len(rows) > 100 * len(VICTIMS) * BETWEEN_S, "too few readings to prove anything"
    missing = [key for key in keys if key not in points]
    assert missing == [], f"{len(missing)} of {len(rows)} committed readings are not stored, the first: {missing[:3]}"
    other = [(row, points[key]) for key, row in zip(keys, rows, strict=True) if number_of(points[key]) != row.value]
    assert other == [], f"{len(other)} readings are stored as something else, the first: {other[:3]}"
