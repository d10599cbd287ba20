"""The InfluxDB sink against a real `influxd`: exact values, bad lines among good ones, a server that is away."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from contracts.alarm import ConditionInput
from contracts.influx_schema import series_tags
from contracts.quality import Reason
from stream_processor.influx_sink import InfluxSettings, InfluxSink, RefusedLine
from stream_processor.line_protocol import Body, Points, build_bodies, build_series, format_series
from tests.running_influxdb import DEADLINE_S, TOKEN, running_influxdb, wait_until

NAN = float("nan")


@pytest.fixture(scope="module")
def influxd(tmp_path_factory):
    with running_influxdb(tmp_path_factory.mktemp("influxd")) as server:
        yield server


@pytest.fixture
def settings(tmp_path):
    def build(url, token=TOKEN, **options):
        token_file = tmp_path / "token"
        token_file.write_text(f"{token}\n")
        return InfluxSettings(
            url=url, org="city", token_file=token_file, retry_first_s=0.05, retry_max_s=0.2, **options
        )

    return build


def body_of(
    node: str, *rows: tuple[int, float, int, float], measurement: str = "gas", **other_scores: list[float]
) -> Body:
    """One body of rows (time in ms, value, reason, score) and columns of other scores."""
    series = build_series([format_series(measurement, series_tags("harbour", "gw-1", node, "methane_lel"))])
    times, values, reasons, scores = zip(*rows, strict=True)
    points = Points(
        np.zeros(len(rows), np.intp),
        np.array(times, np.int64) * 1_000_000,
        np.array(values, np.float64),
        np.array(reasons, np.uint8),
        np.array(scores, np.float64),
        {ConditionInput(name): np.array(column) for name, column in other_scores.items()},
    )
    (body,) = build_bodies(series, points)
    return body


def write(sink_settings: InfluxSettings, body: Body) -> tuple[list[RefusedLine], InfluxSink]:
    async def run():
        async with InfluxSink(sink_settings) as sink:
            return await asyncio.wait_for(sink.write(body), DEADLINE_S), sink

    return asyncio.run(run())


def recent_ms() -> int:
    """Ten seconds ago: a query that names no end stops now."""
    return time.time_ns() // 1_000_000 - 10_000


@pytest.mark.needs_influxdb
@pytest.mark.parametrize("is_compressed", [False, True])
def test_values_come_back_bit_by_bit(influxd, settings, is_compressed):
    start_ms = recent_ms()
    values = [0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, -1e-7, 1e21, 123456789.12345679]
    node = f"exact-{is_compressed}"
    rows = [
        (start_ms + index, value, Reason.OK, abs(value) if abs(value) >= 0.5 else 0.5 + abs(value))
        for index, value in enumerate(values)
    ]
    refused, sink = write(settings(influxd.url, is_compressed=is_compressed), body_of(node, *rows))
    assert refused == []
    assert sink.counters.stored_lines_total == len(values)
    stored = influxd.stored(node)
    for time_ms, value, _, score in rows:
        assert struct.pack("<d", stored.pop(("value", time_ms))) == struct.pack("<d", value)
        assert struct.pack("<d", stored.pop(("score_ewma_z", time_ms))) == struct.pack("<d", score)
    assert stored == {}


@pytest.mark.needs_influxdb
def test_quality_is_stored_and_a_bad_value_is_no_value(influxd, settings):
    at_ms = recent_ms()
    rows = [
        (at_ms, 20.0, Reason.CLOCK_SUSPECT, NAN),
        (at_ms + 1, 250.0, Reason.OUT_OF_RANGE, NAN),
        (at_ms + 2, NAN, Reason.NO_ANSWER, NAN),
    ]
    assert write(settings(influxd.url), body_of("quality", *rows))[0] == []
    assert influxd.stored("quality") == {
        ("value", at_ms): 20.0,
        ("quality", at_ms): 1,
        ("bad_value", at_ms + 1): 250.0,
        ("quality", at_ms + 1): 96,
        ("quality", at_ms + 2): 64,
    }


@pytest.mark.needs_influxdb
def test_bad_lines_are_found_among_good_ones(influxd, settings):
    start_ms, bad = recent_ms(), {0, 777, 778, 1999}
    rows = [(5 + n if n in bad else start_ms + n, float(n), Reason.OK, NAN) for n in range(2000)]
    refused, sink = write(settings(influxd.url), body_of("mixed", *rows))
    assert {line.point_index for line in refused} == bad
    assert all(b"node=mixed" in line.line and "etention" in line.reason for line in refused)
    assert set(influxd.stored("mixed").values()) == {float(n) for n in range(2000) if n not in bad}
    assert (sink.counters.stored_lines_total, sink.counters.refused_lines_total) == (1996, 4)
    assert sink.counters.requests_total < 100


@pytest.mark.needs_influxdb
def test_other_scores_come_back_bit_by_bit_and_refused_lines_are_named_once(influxd, settings):
    start_ms, bad = recent_ms(), {0, 777, 1999}
    chance = np.random.default_rng(1)
    columns = {name: chance.random(2000) for name in ("score_novelty", "score_rate_of_change", "score_group_distance")}
    rows = [(5 + n if n in bad else start_ms + n, float(n), Reason.OK, 0.25) for n in range(2000)]
    refused, sink = write(settings(influxd.url), body_of("others", *rows, **columns))
    assert sorted(line.point_index for line in refused) == sorted(bad)
    assert sink.counters.stored_lines_total == 1997
    stored = influxd.stored("others")
    assert {at_ms for field, at_ms in stored if field == "value"} == {rows[n][0] for n in range(2000) if n not in bad}
    for name, column in columns.items():
        expected = {rows[n][0]: one for n, one in enumerate(column.tolist()) if one >= 0.5 and n not in bad}
        assert {at_ms: one for (field, at_ms), one in stored.items() if field == name} == expected
    assert not any(field == "score_ewma_z" for field, _ in stored)


@pytest.mark.needs_influxdb
def test_two_kinds_of_bad_lines_in_one_body(influxd, settings):
    at_ms = recent_ms()
    conflict = b"fire,node=kinds value=1i %d" % (at_ms * 1_000_000)
    assert write(settings(influxd.url), Body(conflict, np.zeros(1, np.intp)))[0] == []
    float_in_fire = body_of("kinds", (at_ms + 1, 1.0, Reason.OK, NAN), measurement="fire").text
    gas = body_of("kinds", (5, 1.0, Reason.OK, NAN), (at_ms + 2, 2.0, Reason.OK, NAN)).text
    unreadable = b"gas,node=kinds value=much"
    refused, _ = write(
        settings(influxd.url), Body(b"\n".join([float_in_fire, gas, unreadable]), np.array([10, 11, 12, 13]))
    )
    assert sorted(line.point_index for line in refused) == [10, 11, 13]
    assert influxd.stored("kinds") == {("value", at_ms): 1, ("value", at_ms + 2): 2.0}


@pytest.mark.needs_influxdb
def test_a_body_of_bad_lines_only_costs_one_request(influxd, settings):
    refused, sink = write(settings(influxd.url), body_of("old", *((n, 1.0, Reason.OK, NAN) for n in range(500))))
    assert [line.point_index for line in refused] == list(range(500))
    assert sink.counters.requests_total == 1


@pytest.mark.needs_influxdb
@pytest.mark.parametrize(("token", "bucket", "status"), [("wrong", "readings", "401 "), (TOKEN, "absent", "404 ")])
def test_what_a_person_must_mend_is_waited_for(influxd, settings, token, bucket, status):
    async def run():
        async with InfluxSink(settings(influxd.url, token=token, bucket=bucket)) as sink:
            writing = asyncio.create_task(sink.write(body_of("waits", (recent_ms(), 1.0, Reason.OK, NAN))))
            await asyncio.to_thread(wait_until, "the sink has waited", lambda: sink.counters.waits_total >= 3)
            writing.cancel()
            return sink.counters

    counters = asyncio.run(run())
    assert counters.waits_total >= 3
    assert counters.waiting_because.startswith(status)
    assert counters.refused_lines_total == 0


@pytest.mark.needs_influxdb
def test_a_killed_server_is_waited_for(influxd, settings):
    at_ms = recent_ms()
    influxd.kill()

    async def run():
        async with InfluxSink(settings(influxd.url)) as sink:
            writing = asyncio.create_task(sink.write(body_of("killed", (at_ms, 1.5, Reason.OK, NAN))))
            try:
                await asyncio.sleep(0.3)
                assert sink.counters.waiting_because
            finally:
                await asyncio.to_thread(influxd.start)
            return await asyncio.wait_for(writing, DEADLINE_S), sink.counters

    refused, counters = asyncio.run(run())
    assert refused == []
    assert counters.waiting_because is None
    assert influxd.stored("killed") == {("value", at_ms): 1.5}


@contextmanager
def busy_server(statuses: list[int]):
    """Answers each request with the next status; yields its URL and the bodies that it has read."""
    bodies: list[bytes] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(statuses[len(bodies) - 1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


def test_the_same_body_is_sent_again_until_a_busy_server_takes_it(settings):
    body = body_of("busy", (1, 1.0, Reason.OK, NAN), (2, 2.0, Reason.OK, NAN))
    with busy_server([503, 429, 500, 204]) as (url, bodies):
        refused, sink = write(settings(url), body)
    assert refused == []
    assert bodies == [body.text] * 4
    assert (sink.counters.waits_total, sink.counters.stored_lines_total) == (3, 2)
