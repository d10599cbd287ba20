"""What we write to InfluxDB and ask of it, on a real 1.8: the sink, the set-up, downsampling, a trend."""

from __future__ import annotations

import asyncio
import math
import time

import numpy as np
import pytest

from broker_config.influxdb_1 import POLICY, render_selection
from contracts.alarm import ConditionInput
from contracts.fleet import Domain
from contracts.influx_schema import BUCKETS, READINGS, READINGS_1H, READINGS_1M, series_tags
from contracts.quality import Reason
from contracts.record_message import HourOfGateway
from stream_processor.distributed.store_plan import build_completeness
from stream_processor.influx_sink import InfluxSettings, InfluxSink
from stream_processor.line_protocol import Body, Points, build_bodies, build_series, format_series
from tests.running_influxdb import DEADLINE_S
from tests.running_influxdb_1 import RunningInfluxdb1, running_influxdb_1

pytestmark = pytest.mark.needs_influxdb_1

NAN = float("nan")
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_influxdb_1(tmp_path_factory.mktemp("influxd")) as running:
        yield running


def body_of(node: str, *rows: tuple[int, float, int, float], **other_scores: list[float]) -> Body:
    """One body of rows (time in ms, value, reason, score) and columns of other scores."""
    series = build_series([format_series("gas", series_tags("harbour", "gw-1", node, "methane_lel"))])
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


def write(server: RunningInfluxdb1, body: Body, *, is_completeness: bool = False):
    settings = InfluxSettings(
        url=server.url, org="-", token_file=server.token_file, retry_first_s=0.05, retry_max_s=0.2
    )

    async def run():
        async with InfluxSink(settings) as sink:
            work = sink.write_completeness(body) if is_completeness else sink.write(body)
            return await asyncio.wait_for(work, DEADLINE_S)

    return asyncio.run(run())


def stored(server: RunningInfluxdb1, node: str, field: str) -> dict[int, float]:
    """A field of a node's points, by time in ms."""
    rows = server.ask(f"SELECT \"{field}\" FROM gas WHERE node = '{node}'", READINGS.name)
    return {time_ms: value for each in rows for time_ms, value in each["values"] if value is not None}


def test_values_come_back_bit_by_bit_and_no_nan_is_written(server):
    start_ms = time.time_ns() // 1_000_000 - 10_000
    values = [0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, -1e-7, 1e21, 123456789.12345679]
    rows = [(start_ms + at, value, Reason.OK, NAN) for at, value in enumerate(values)]
    bad = [(start_ms + 100, 900.0, Reason.OUT_OF_RANGE, NAN), (start_ms + 101, NAN, Reason.CRC_ERROR, NAN)]
    assert write(server, body_of("exact", *rows, *bad)) == []
    assert list(stored(server, "exact", "value").values()) == values
    assert list(stored(server, "exact", "bad_value").values()) == [900.0]
    assert stored(server, "exact", "quality") == {
        start_ms + 100: int(Reason.OUT_OF_RANGE),
        start_ms + 101: int(Reason.CRC_ERROR),
    }


def test_other_scores_stand_beside_the_value_and_a_refused_line_takes_none_of_its_neighbours(server):
    start_ms = time.time_ns() // 1_000_000 - 10_000
    rows = [(start_ms + at, float(at), Reason.OK, 0.6 + at / 1000) for at in range(50)]
    novelty, distance = [0.5 + at / 1000 for at in range(50)], [NAN, 1 / 3 + 0.25] * 25
    body = body_of("others", *rows, score_novelty=novelty, score_group_distance=distance)
    text = body.text.replace(b"value=20.0,", b'value="a text",')
    (refused,) = write(server, Body(text, body.point_index))
    assert (refused.point_index, b"score_novelty=0.52 " in refused.line) == (20, True)
    for field, column in (("score_novelty", novelty), ("score_group_distance", distance)):
        expected = {start_ms + at: one for at, one in enumerate(column) if at != 20 and not math.isnan(one)}
        assert stored(server, "others", field) == expected
    assert len(stored(server, "others", "value")) == 49
    assert write(server, body) == []  # the line as it should have been
    assert stored(server, "others", "score_novelty")[start_ms + 20] == 0.52


def test_a_line_that_is_refused_comes_back_and_the_others_stand(server):
    start_ms = time.time_ns() // 1_000_000 - 10_000
    good = body_of("partial", *((start_ms + at, float(at), Reason.OK, NAN) for at in range(100)))
    lines = good.text.split(b"\n")
    assert len(lines) == 100
    text = b"\n".join([*lines[:40], lines[40].replace(b"value=40.0", b'value="a text"'), *lines[41:]])
    (refused,) = write(server, Body(text, np.arange(100, dtype=np.intp)))
    assert refused.point_index == 40
    assert "field type conflict" in refused.reason
    assert len(stored(server, "partial", "value")) == 99


def test_the_databases_are_those_of_the_schema_and_a_second_run_changes_nothing(server):
    names = {name for each in server.ask("SHOW DATABASES") for (name,) in each["values"]}
    assert {bucket.name for bucket in BUCKETS} <= names
    for options in ((), ("--check",)):
        run = server.set_up(*options)
        assert (run.returncode, run.stdout, run.stderr) == (0, f"{server.url}: ok\n", "")


def test_check_names_what_differs_and_set_up_mends_it(server):
    server.ask(f"ALTER RETENTION POLICY {POLICY} ON readings DURATION 1d SHARD DURATION 1h")
    server.ask("DROP CONTINUOUS QUERY readings_1m_gas ON readings")
    differences = [
        "database readings: kept for 86400 s in shards of 3600 s instead of 2592000 s in 86400 s",
        "continuous query readings_1m_gas: absent",
    ]
    checked = server.set_up("--check")
    assert (checked.returncode, checked.stdout.splitlines()) == (1, differences)
    mended = server.set_up()
    assert (mended.returncode, mended.stdout.splitlines()) == (0, [f"{each}; done" for each in differences])
    assert server.set_up("--check").returncode == 0


def test_a_wrong_password_is_one_line_and_exit_code_2(server):
    kept = server.token_file.read_text()
    server.token_file.write_text("founder:wrong\n")
    try:
        run = server.set_up("--check")
    finally:
        server.token_file.write_text(kept)
    assert (run.returncode, run.stdout, len(run.stderr.splitlines())) == (2, "", 1)
    assert "401" in run.stderr


@pytest.mark.parametrize("bucket", [READINGS_1M, READINGS_1H], ids=lambda bucket: bucket.name)
def test_what_the_continuous_query_selects_are_aggregates_of_good_values(server, bucket):
    window_ms = 1_000 * bucket.window_s
    first_ms = (time.time_ns() // 1_000_000 // window_ms - 3) * window_ms
    node = f"down-{bucket.name}"
    rows = [(first_ms, 1.0, Reason.OK, NAN), (first_ms + window_ms - 1, 4.0, Reason.OK, 0.9)]
    bad = (first_ms + 1, 900.0, Reason.OUT_OF_RANGE, NAN)
    write(server, body_of(node, *rows, bad, score_novelty=[0.75, 0.55, NAN]))
    server.ask(render_selection(bucket, Domain.GAS, f"WHERE time >= {first_ms}ms"), READINGS.name)
    fields = "value_mean, value_min, value_max, value_count, score_ewma_z_max, score_novelty_max"
    (series,) = server.ask(f"SELECT {fields} FROM gas WHERE node = '{node}' GROUP BY *", bucket.name)
    assert series["values"] == [[first_ms, 2.5, 1.0, 4.0, 2, 0.9, 0.75]]
    assert series["tags"] == {"district": "harbour", "gateway": "gw-1", "node": node, "quantity": "methane_lel"}


def test_completeness_stands_in_the_bucket_of_hours(server):
    hour_ns = time.time_ns() // 3_600_000_000_000 * 3_600_000_000_000
    hour = HourOfGateway("harbour", "gw-1", hour_ns, 9, 10)
    assert write(server, build_completeness([hour]), is_completeness=True) == []
    (series,) = server.ask("SELECT stored_batches, expected_batches, fraction FROM completeness", READINGS_1H.name)
    assert series["values"] == [[hour_ns // 1_000_000, 9, 10, 0.9]]
