"""Every query of the committed dashboards, put to a real InfluxDB (2 and 1.8) that pipeline and sink have filled.

The variables and macros are put in as Grafana does it (grafana/grafana `pkg/tsdb/influxdb/models/query.go` for the
macros, `public/app/features/templating` for `${name:regex}` and a custom value of "All").
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Protocol

import numpy as np
import pytest

from broker_config.influxdb import task_name
from broker_config.influxdb_1 import render_selection
from contracts.alarm import ConditionInput
from contracts.fleet import Domain, FleetSnapshot
from contracts.influx_schema import BUCKETS, READINGS, READINGS_1H, READINGS_1M, TAGS
from contracts.quality import Reason
from contracts.record import Record
from contracts.record_message import HourOfGateway
from contracts.score import SCORES
from contracts.uplink import BatchIdentity
from stream_processor.detectors.contract import to_score
from stream_processor.distributed.store_plan import build_completeness
from stream_processor.fleet_index import FleetIndex
from stream_processor.influx_sink import InfluxSettings, InfluxSink
from stream_processor.line_protocol import Body, Points, build_bodies, points_of, series_of_fleet
from stream_processor.pipeline.pipeline import Pipeline
from tests.running_influxdb import DEADLINE_S, ORG, RunningInfluxdb, running_influxdb, wait_until
from tests.running_influxdb_1 import RunningInfluxdb1, running_influxdb_1

DASHBOARDS = Path(__file__).parents[2] / "grafana/dashboards"
NAN = float("nan")
S = 1_000_000_000
GAS_1, GAS_2, STRAIN, TEMPERATURE = 11, 12, 21, 22
ALL = {"district": ".*", "gateway": ".*", "node": ".*", "quantity": ".*"}
ONE = {"district": "(harbour|riverside)", "gateway": "gw-1", "node": "gas-1", "quantity": "methane_lel"}
BAD_VALUES, WITHOUT_VALUE, SUSPECT = 12, 4, 3
HOURS_BACK = 3
DOWNSAMPLED = [(bucket, domain) for bucket in (READINGS_1M, READINGS_1H) for domain in (Domain.GAS, Domain.BRIDGE)]


def fleet() -> FleetSnapshot:
    def site(site_id: str, district_id: str, domain: str) -> dict[str, object]:
        place = {"name": site_id, "latitude": 1.0, "longitude": 2.0}
        return {"site_id": site_id, "district_id": district_id, "domain": domain, **place}

    def node(node_id: str, gateway_id: str, site_id: str) -> dict[str, object]:
        return {"node_id": node_id, "gateway_id": gateway_id, "bus_id": "tcp", "site_id": site_id, "model": "X"}

    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": name, "name": name} for name in ("harbour", "riverside")],
            "sites": [site("station", "harbour", "gas"), site("old-bridge", "riverside", "bridge")],
            "gateways": [
                {"gateway_id": "gw-1", "district_id": "harbour", "name": "One"},
                {"gateway_id": "gw-2", "district_id": "riverside", "name": "Two"},
            ],
            "nodes": [
                node("gas-1", "gw-1", "station"),
                node("gas-2", "gw-1", "station"),
                node("span-1", "gw-2", "old-bridge"),
            ],
            "channels": [
                {"channel_id": GAS_1, "node_id": "gas-1", "quantity": "methane_lel"},
                {"channel_id": GAS_2, "node_id": "gas-2", "quantity": "methane_lel"},
                {"channel_id": STRAIN, "node_id": "span-1", "quantity": "strain"},
                {"channel_id": TEMPERATURE, "node_id": "span-1", "quantity": "temperature"},
            ],
        }
    )


class Server(Protocol):
    """Where questions go."""

    url: str
    token: str
    token_file: Path


@dataclass
class City:
    """What was stored, and where."""

    server: Server
    now_ns: int
    stored: int
    hour_ns: int


def readings(now_ns: int) -> Record:
    """Two hours by the minute, then eleven minutes by ten seconds, of four channels; and what goes wrong in them."""
    times = [*range(now_ns - 7200 * S, now_ns - 660 * S, 60 * S), *range(now_ns - 660 * S, now_ns - 5 * S, 10 * S)]
    rows: list[tuple[int, int, float, int]] = []
    for number, at_ns in enumerate(times):
        left, wave = len(times) - number, math.sin(number)
        rows += [
            (GAS_1, at_ns, 60.0 if left == 3 else 2 + wave, 0),
            (GAS_2, at_ns, *_gas_2(left, wave)),
            (STRAIN, at_ns, -900.0 if left == 2 else 100 + wave, 0),
            (TEMPERATURE, at_ns, 15 + wave, int(Reason.CLOCK_SUSPECT) if left <= SUSPECT else 0),
        ]
    channels, at, values, reasons = zip(*rows, strict=True)
    count = len(rows)
    return Record(
        channel_id=np.array(channels, np.uint32),
        phenomenon_ns=np.array(at, np.int64),
        received_ns=np.array(at, np.int64) + 50_000_000,
        value=np.array(values, np.float64),
        reason=np.array(reasons, np.uint8),
        is_historical=np.zeros(count, np.bool_),
        batch_index=np.zeros(count, np.int32),
        batches=(BatchIdentity("gw-1", 1, 1),),
    )


def _gas_2(left: int, wave: float) -> tuple[float, int]:
    if left <= BAD_VALUES:
        return 900.0, 0  # implausible: the pipeline calls it out of range
    if left <= BAD_VALUES + WITHOUT_VALUE:
        return NAN, int(Reason.CRC_ERROR)
    return 3 + wave, 0


def bodies_of(now_ns: int) -> tuple[list[Body], int]:
    """Of all readings, and of a channel that a bus lost."""
    index = FleetIndex(fleet())
    pipeline = Pipeline()
    pipeline.take_fleet(index)
    scored = pipeline.step(readings(now_ns), now_ns)
    series = series_of_fleet(pipeline.channels.channel_ids, index.contexts)
    row = pipeline.channels.rows_of(np.array([TEMPERATURE], np.uint32))
    lost = Points(row, np.array([now_ns - S]), np.array([NAN]), np.array([Reason.BUS_LOST], np.uint8), np.array([NAN]))
    points = points_of(scored.record, scored)
    return [*build_bodies(series, points), *build_bodies(series, lost)], len(points)


def fill(server: Server, downsample: Callable[[int], None]) -> City:
    now_ns = time.time_ns() // S * S
    hour_ns = now_ns // (3600 * S) * 3600 * S
    bodies, stored = bodies_of(now_ns)
    hours = [
        HourOfGateway(district, gateway, hour_ns - back * 3600 * S, 90 if gateway == "gw-2" and back == 1 else 100, 100)
        for district, gateway in (("harbour", "gw-1"), ("riverside", "gw-2"))
        for back in range(HOURS_BACK)
    ]
    settings = InfluxSettings(url=server.url, org=ORG, token_file=server.token_file)

    async def write() -> None:
        async with InfluxSink(settings) as sink:
            for body in bodies:
                assert await asyncio.wait_for(sink.write(body), DEADLINE_S) == []
            assert await asyncio.wait_for(sink.write_completeness(build_completeness(hours)), DEADLINE_S) == []

    asyncio.run(write())
    downsample(now_ns)
    return City(server, now_ns, stored, hour_ns)


def run_tasks(server: RunningInfluxdb) -> None:
    tasks = {task["name"]: task["id"] for task in server.call("GET", f"/api/v2/tasks?org={ORG}")["tasks"]}
    for bucket, domain in DOWNSAMPLED:
        run_task(server, task_name(bucket, domain), tasks[task_name(bucket, domain)])


def run_selections(server: RunningInfluxdb1, now_ns: int) -> None:
    """What the continuous queries select, of all that is stored."""
    for bucket, domain in DOWNSAMPLED:
        server.ask(render_selection(bucket, domain, f"WHERE time <= {now_ns // 1_000_000}ms"), READINGS.name)


def run_task(server: RunningInfluxdb, name: str, task_id: str) -> None:
    path = f"/api/v2/tasks/{task_id}/runs"
    run = server.call("POST", path, {})
    told: list[str] = []

    def has_ended() -> bool:
        try:
            told.append(server.call("GET", f"{path}/{run['id']}")["status"])
        except urllib.error.HTTPError:  # for a moment, while the run goes from the running to the finished ones
            return False
        return told[-1] in {"success", "failed"}

    wait_until(f"{name} has run", has_ended)
    assert told[-1] == "success"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("2", marks=pytest.mark.needs_influxdb),
        pytest.param("1.8", marks=pytest.mark.needs_influxdb_1),
    ],
)
def city(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    folder = tmp_path_factory.mktemp("influxd")
    if request.param == "2":
        with running_influxdb(folder) as server:
            yield fill(server, lambda _: run_tasks(server))
    else:
        with running_influxdb_1(folder) as older:
            yield fill(older, lambda now_ns: run_selections(older, now_ns))


def ask(city: City, database: str, query: str) -> list[dict]:
    """The series of an answer. Grafana asks the same route with the same header."""
    form = urllib.parse.urlencode({"db": database, "q": query, "epoch": "ms"}).encode()
    request = urllib.request.Request(f"{city.server.url}/query", form, {"Authorization": f"Token {city.server.token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        (result,) = json.load(answer)["results"]
    assert "error" not in result, f"{result['error']}: {query}"
    return result.get("series", [])


def put_in(query: str, chosen: dict[str, str], from_ms: int, to_ms: int, interval_s: int) -> str:
    for name, text in chosen.items():
        query = query.replace(f"${{{name}:regex}}", text)
    for macro, text in (
        ("$timeFilter", f"time >= {from_ms}ms and time <= {to_ms}ms"),
        ("$__interval_ms", str(interval_s * 1000)),
        ("$__interval", f"{interval_s}s"),
    ):
        query = query.replace(macro, text)
    assert not re.search(r"\$[A-Za-z_{]", query), f"not put in: {query}"
    return query


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(?:now-)?(\d+)([smhd])", text).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]


def rounded_interval_s(wanted_s: float) -> int:
    """To a whole number of people's units, as Grafana does (`rangeutil.ts`, `roundInterval`; from 10 s to 3 h)."""
    steps = [(15, 10), (25, 20), (45, 30), (90, 60), (210, 120), (450, 300), (750, 600), (1050, 900), (1500, 1200)]
    steps += [(2700, 1800), (5400, 3600), (9000, 7200)]
    return next((step_s for below_s, step_s in steps if wanted_s < below_s), 10_800)


def dashboard(name: str) -> dict:
    return json.loads((DASHBOARDS / f"{name}.json").read_text())


def bucket_of(target: dict):
    (bucket,) = [each for each in BUCKETS if f"citysense-{each.name.replace('_', '-')}" == target["datasource"]["uid"]]
    return bucket


def run_target(city: City, board: str, title: str, ref_id: str, chosen: dict[str, str]) -> list[dict]:
    document = dashboard(board)
    (panel,) = [each for each in document["panels"] if each["title"] == title]
    (target,) = [each for each in panel["targets"] if each["refId"] == ref_id]
    bucket = bucket_of(target)
    span_s = seconds(panel.get("timeFrom") or document["time"]["from"])
    to_ms = city.now_ns // 1_000_000 + 1000
    least_s = max(seconds(panel.get("interval", "1s")), bucket.window_s)
    interval_s = max(least_s, rounded_interval_s(span_s / 1000))
    return ask(city, bucket.name, put_in(target["query"], chosen, to_ms - span_s * 1000, to_ms, interval_s))


SCORE_QUERIES = dict(zip(ascii_uppercase, SCORES, strict=False))
SCORES_STORED = {
    ConditionInput.SCORE_EWMA_Z,
    ConditionInput.SCORE_RATE_OF_CHANGE,
    ConditionInput.SCORE_NOVELTY,
    ConditionInput.SCORE_RESIDUAL,
}
"""By the default sets of gas and bridge, of readings as above."""
GATEWAY = {"district", "gateway"}
SHAPES: dict[tuple[str, str, str], tuple[list[str], set[str]]] = {
    # dashboard, panel, query: columns and tags of each series
    ("city", "Complete by district", "A"): (["time", "complete"], {"district"}),
    ("city", "Good and bad readings by domain", "A"): (["time", "count"], set()),
    ("city", "Good and bad readings by domain", "B"): (["time", "count"], set()),
    **{
        ("city", "Highest scores", ref_id): (["time", score.value.removeprefix("score_"), *TAGS], set())
        for ref_id, score in SCORE_QUERIES.items()
    },
    ("city", "Nodes with the most bad readings", "A"): (["time", "bad readings", "district", "gateway", "node"], set()),
    ("node", "Value", "A"): (["time", "mean"], {"quantity"}),
    ("node", "Value", "B"): (["time", "last"], {"quantity"}),
    ("node", "Quality", "A"): (["time", "max"], {"quantity"}),
    **{("node", "Score", ref_id): (["time", "max"], {"quantity"}) for ref_id in SCORE_QUERIES},
    ("node", "By the hour", "A"): (["time", "mean", "min", "max"], {"quantity"}),
    ("node", "Newest value", "A"): (["time", "value"], {"quantity"}),
    ("pipeline", "Complete by gateway and hour", "A"): (["time", "mean"], GATEWAY),
    ("pipeline", "Least complete hours", "A"): (["time", "complete", "district", "gateway"], set()),
    ("pipeline", "Missing batches", "A"): (["time", "missing batches"], GATEWAY),
    ("pipeline", "Readings per second", "A"): (["time", "sum"], set()),
    ("pipeline", "Readings that are not good, by cause", "A"): (["time", "count"], set()),
    ("pipeline", "Readings that are not good, by cause", "B"): (["time", "count"], set()),
    ("pipeline", "Readings that are not good, by cause", "C"): (["time", "count"], set()),
    ("pipeline", "Readings that are not good, by cause", "D"): (["time", "count"], set()),
    ("pipeline", "Readings that are not good, by cause", "E"): (["time", "count"], set()),
    ("pipeline", "Newest reading by gateway", "A"): (["time", "value"], GATEWAY),
    ("pipeline", "Stale channels", "A"): (["time", "stale channels"], GATEWAY),
}
NOTHING_TO_SHOW = {("pipeline", "Readings that are not good, by cause", "C")} | {
    (board, title, ref_id)
    for board, title in (("city", "Highest scores"), ("node", "Score"))
    for ref_id, score in SCORE_QUERIES.items()
    if score not in SCORES_STORED
}
"""No device of the test says of itself that its value is none, and most detectors score none of its channels."""


def test_the_table_of_shapes_has_every_query_of_every_dashboard() -> None:
    queries = {
        (path.stem, panel["title"], target["refId"])
        for path in DASHBOARDS.glob("*.json")
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    }
    assert queries == set(SHAPES)


@pytest.mark.parametrize("place", SHAPES, ids=" / ".join)
def test_a_query_returns_rows_of_the_expected_shape(city: City, place: tuple[str, str, str]) -> None:
    columns, tags = SHAPES[place]
    found = run_target(city, *place, ALL)
    assert bool(found) is (place not in NOTHING_TO_SHOW), "rows are expected of what was stored"
    for series in found:
        assert series["columns"] == columns
        assert set(series.get("tags", {})) == tags
        assert all(isinstance(row[0], int) for row in series["values"])
        assert any(isinstance(cell, int | float) for row in series["values"] for cell in row[1:])


@pytest.mark.parametrize("place", SHAPES, ids=" / ".join)
def test_a_choice_narrows_what_is_shown(city: City, place: tuple[str, str, str]) -> None:
    chosen = ONE if place[0] != "city" else {"district": "harbour"}
    told = json.dumps(run_target(city, *place, chosen))
    assert "riverside" not in told
    assert '"bridge"' not in told


def values(found: list[dict], column: str) -> list[float]:
    return [row[series["columns"].index(column)] for series in found for row in series["values"]]


def test_completeness_is_stored_of_expected(city: City) -> None:
    found = run_target(city, "city", "Complete by district", "A", ALL)
    shares = {series["tags"]["district"]: series["values"][0][1] for series in found}
    assert shares == {"harbour": 1.0, "riverside": pytest.approx((100 * HOURS_BACK - 10) / (100 * HOURS_BACK))}
    worst = run_target(city, "pipeline", "Least complete hours", "A", ALL)
    row = min((row for series in worst for row in series["values"]), key=lambda row: row[1])
    assert row == [(city.hour_ns - 3600 * S) // 1_000_000, 0.9, "riverside", "gw-2"]
    missing = run_target(city, "pipeline", "Missing batches", "A", ALL)
    assert sum(values(missing, "missing batches")) == 10


def test_bad_readings_are_counted_where_they_are_and_by_their_cause(city: City) -> None:
    bad = run_target(city, "city", "Good and bad readings by domain", "B", ALL)
    by_domain = {series["name"]: sum(row[1] for row in series["values"]) for series in bad}
    assert by_domain == {"gas": BAD_VALUES + WITHOUT_VALUE, "bridge": 1}
    (worst, _) = run_target(city, "city", "Nodes with the most bad readings", "A", ALL)[::-1]
    assert worst["values"][0][1:] == [BAD_VALUES + WITHOUT_VALUE, "harbour", "gw-1", "gas-2"]
    causes = {
        ref: sum(values(run_target(city, "pipeline", "Readings that are not good, by cause", ref, ALL), "count"))
        for ref in "ABCDE"
    }
    assert causes == {"A": SUSPECT, "B": WITHOUT_VALUE, "C": 0, "D": BAD_VALUES, "E": 1}


def test_the_strangest_channels_are_found(city: City) -> None:
    highest = run_target(city, "city", "Highest scores", "A", ALL)
    scores = [row for series in highest for row in series["values"]]
    (top, next_one, *_) = sorted(scores, key=lambda row: row[1], reverse=True)
    assert top[1] > next_one[1] > to_score(10.0)
    assert {tuple(row[2:]) for row in (top, next_one)} == {
        ("harbour", "gw-1", "gas-1", "methane_lel"),
        ("riverside", "gw-2", "span-1", "strain"),
    }


def test_each_detector_has_its_own_list_and_its_own_line(city: City) -> None:
    for score, channels in (
        (ConditionInput.SCORE_NOVELTY, {("gas-1", "methane_lel"), ("span-1", "strain")}),
        (ConditionInput.SCORE_RATE_OF_CHANGE, {("gas-1", "methane_lel")}),
        (ConditionInput.SCORE_RESIDUAL, {("span-1", "strain")}),
    ):
        (ref_id,) = [each for each, asked in SCORE_QUERIES.items() if asked is score]
        listed = [row for series in run_target(city, "city", "Highest scores", ref_id, ALL) for row in series["values"]]
        assert {tuple(row[4:]) for row in listed if row[1] > to_score(10.0)} == channels, score
        drawn = values(run_target(city, "node", "Score", ref_id, ALL | {"node": "gas-1"}), "max")
        assert bool(drawn) is (("gas-1", "methane_lel") in channels), score
        assert all(0.5 <= each <= 1.0 for each in drawn)


def test_a_node_shows_what_may_be_trusted_apart_from_what_may_not(city: City) -> None:
    gas_2 = ALL | {"node": "gas-2"}
    trusted = values(run_target(city, "node", "Value", "A", gas_2), "mean")
    assert trusted
    assert max(trusted) < 10
    assert set(values(run_target(city, "node", "Value", "B", gas_2), "last")) == {900.0}
    assert set(values(run_target(city, "node", "Quality", "A", gas_2), "max")) == {
        Reason.OUT_OF_RANGE,
        Reason.CRC_ERROR,
    }


def test_the_newest_and_the_lost_are_told(city: City) -> None:
    newest = run_target(city, "pipeline", "Newest reading by gateway", "A", ALL)
    ages_s = {series["tags"]["gateway"]: city.now_ns / S - series["values"][0][0] / 1000 for series in newest}
    assert set(ages_s) == {"gw-1", "gw-2"}
    assert all(5 <= age_s <= 16 for age_s in ages_s.values()), ages_s
    (stale,) = run_target(city, "pipeline", "Stale channels", "A", ALL)
    assert (stale["tags"]["gateway"], stale["values"][0][1]) == ("gw-2", 1)


def test_readings_per_second_are_those_of_the_minute(city: City) -> None:
    found = {
        series["name"]: series["values"] for series in run_target(city, "pipeline", "Readings per second", "A", ALL)
    }
    rates = [rate for _, rate in found["bridge"]]
    assert max(rates) == pytest.approx(2 * 6 / 60), "two channels, every ten seconds"


def test_the_variables_list_what_is_stored(city: City) -> None:
    listed = {}
    for variable in dashboard("node")["templating"]["list"]:
        query = put_in(variable["query"], ALL | {"gateway": "gw-2", "node": "span-1"}, 0, 0, 1)
        found = ask(city, READINGS.name, query)
        assert all(series["columns"] == ["key", "value"] for series in found)
        listed[variable["name"]] = {row[1] for series in found for row in series["values"]}
    assert listed == {
        "district": {"harbour", "riverside"},
        "gateway": {"gw-1", "gw-2"},
        "node": {"span-1"},
        "quantity": {"strain", "temperature"},
    }
