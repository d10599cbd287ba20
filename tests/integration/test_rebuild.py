"""InfluxDB wiped and rebuilt from Parquet: every answer is what it was."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from contracts.alarm import ConditionInput
from contracts.influx_schema import (
    AGGREGATES,
    READINGS,
    READINGS_1H,
    READINGS_1M,
    aggregate_field,
    score_maximum_field,
)
from contracts.notice import ChannelsLost
from contracts.quality import Reason
from contracts.record_message import HourOfGateway, ScoredMessage, encode_scored
from contracts.score import OTHER_SCORES
from stream_processor.distributed.archive_plan import read_frame
from stream_processor.distributed.parquet_archive import ParquetArchive
from stream_processor.distributed.store_plan import build_completeness, gather_columns, newest_hours, split_lanes
from stream_processor.fleet_index import FleetIndex
from stream_processor.influx_sink import InfluxSettings, InfluxSink
from stream_processor.line_protocol import build_bodies
from stream_processor.series_table import SeriesTable
from tests.running_influxdb import ORG, TOKEN, running_influxdb
from tests.scored_messages import METHANE, NAN, OXYGEN, SECOND_NS, STRAIN, good, scored_message, small_fleet

ROOT = Path(__file__).parents[2]
CONTEXTS = FleetIndex(small_fleet()).contexts
HOUR_NS, DAY_NS = 3_600 * SECOND_NS, 86_400 * SECOND_NS
BEGIN_NS = (time.time_ns() // SECOND_NS - 7_200) * SECOND_NS
END = datetime.fromtimestamp(BEGIN_NS // SECOND_NS + 86_400, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
START = datetime.fromtimestamp(BEGIN_NS // SECOND_NS - 40 * 86_400, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
UNKNOWN_CHANNEL = 99
ROUNDED = "|> map(fn: (r) => ({r with _value: math.round(x: r._value * 1000000000.0)}))"
"""A mean is summed in another order."""

QUESTIONS = {
    "every point": "|> sort(columns: ['_measurement', 'node', 'quantity', '_field', '_time'])",
    "mean an hour": "|> filter(fn: (r) => r._field == 'value') |> aggregateWindow(every: 1h, fn: mean)",
    "count": "|> count()",
    "last": "|> last()",
    "largest score": "|> filter(fn: (r) => r._field == 'score_ewma_z') |> max()",
    "largest novelty": "|> filter(fn: (r) => r._field == 'score_novelty') |> max()",
    "group scores": "|> filter(fn: (r) => r._field == 'score_group_distance') |> count()",
    "not good": "|> filter(fn: (r) => r._field == 'quality') |> group(columns: ['_value']) |> count(column: 'node')",
}


COMPLETENESS_QUESTION = "|> filter(fn: (r) => r._measurement == 'completeness') |> sort(columns: ['gateway', '_time'])"


@pytest.fixture(scope="module")
def influxd(tmp_path_factory):
    with running_influxdb(tmp_path_factory.mktemp("influxd")) as server:
        yield server


NOVELTY, GROUP = ConditionInput.SCORE_NOVELTY, ConditionInput.SCORE_GROUP_DISTANCE


def some_scores(message: ScoredMessage, chance: random.Random) -> dict[ConditionInput, np.ndarray]:
    """Novelty of all good rows, group scores of those of strain; one message in five has none at all."""
    if chance.random() < 0.2:
        return {}
    record = message.record
    drawn = np.array([round(chance.random(), 3) for _ in range(len(record))])
    is_good = record.reason == Reason.OK
    return {
        NOVELTY: np.where(is_good, drawn, NAN),
        GROUP: np.where(is_good & (record.channel_id == STRAIN), drawn, NAN),
    }


def city_messages() -> list[ScoredMessage]:
    """Two hours of three channels with all that is hard: bad, late, wrong clocks, lost, unknown, one time twice."""
    chance = random.Random(7)
    messages = []
    for offset in range(300):
        at_ns = BEGIN_NS + offset * 20 * SECOND_NS
        rows = [
            good(METHANE, at_ns, round(chance.gauss(20, 5), 1), round(chance.gauss(0, 3), 3)),
            good(STRAIN, at_ns + chance.randrange(10**9), chance.gauss(0, 1), NAN if offset < 30 else -0.0),
        ]
        if offset % 7 == 0:
            rows.append((OXYGEN, at_ns, NAN, Reason.NO_ANSWER, NAN))
        if offset % 11 == 0:
            rows.append((OXYGEN, at_ns + 5, 250.0, Reason.OUT_OF_RANGE, NAN))
        if offset % 13 == 0:
            rows += [good(OXYGEN, at_ns + 1, 1 / 3), (OXYGEN, at_ns + 1, 20.9, Reason.CLOCK_SUSPECT, 1.5)]
        if offset % 17 == 0:
            rows.append(good(UNKNOWN_CHANNEL, at_ns, 1.0))
        plain = scored_message(len(messages), *rows, received_ns=at_ns + SECOND_NS)
        messages.append(replace(plain, other_scores=some_scores(plain, chance)))
        if (
            offset % 19 == 0
        ):  # two readings of a gateway whose clock began in 1970: one event time, the later one counts
            wrong = [(METHANE, 5 * SECOND_NS, 3.0, Reason.CLOCK_SUSPECT, NAN), (METHANE, 1, 4.0, 1, NAN)]
            messages.append(scored_message(len(messages), *wrong, received_ns=at_ns + 123_456_789))
        if offset % 23 == 0:
            old = [good(STRAIN, at_ns - days * DAY_NS, float(days)) for days in (1, 20, 29, 400)]
            messages.append(scored_message(len(messages), *old, received_ns=at_ns, late=True))
        if offset % 50 == 0:
            lost = ChannelsLost("gw-1", (METHANE, OXYGEN), Reason.GATEWAY_LOST, at_ns + 7)
            messages.append(scored_message(len(messages), made_ns=at_ns + 9, channels_lost=(lost,)))
        if offset % 40 == 0:  # told again and again while the hour grows; one gateway that sends nothing
            hour_ns = at_ns // HOUR_NS * HOUR_NS
            told = (HourOfGateway("harbour", "gw-1", hour_ns, offset, offset + 2),)
            told += (HourOfGateway("hill", "gw-silent", hour_ns, 0, 1), HourOfGateway("", "gw-gone", hour_ns, 0, 1))
            messages.append(scored_message(len(messages), made_ns=at_ns + 11, completeness=told))
    return messages


def store(url: str, token_file: Path, messages: list[ScoredMessage]) -> int:
    """As the store job does. Returns how many lines InfluxDB refused."""

    async def write() -> int:
        refused = 0
        table = SeriesTable(CONTEXTS)
        async with InfluxSink(InfluxSettings(url=url, org=ORG, token_file=token_file)) as sink:
            for first in range(0, len(messages), 16):
                part = messages[first : first + 16]
                if hours := newest_hours(part):
                    refused += len(await sink.write_completeness(build_completeness(hours)))
                for lane in split_lanes(gather_columns(part), table, 2):
                    for body in build_bodies(table.series, lane.points):
                        refused += len(await sink.write(body))
        return refused

    return asyncio.run(write())


def archive(folder: Path, messages: list[ScoredMessage]) -> None:
    """As the archive job does, in files of about 250 rows; some messages come twice."""
    files = ParquetArchive(folder, 250, CONTEXTS)
    for first in range(0, len(messages), 16):
        part = messages[max(0, first - 3) : first + 16]
        files.append(0, [read_frame(encode_scored(each)) for each in part], BEGIN_NS)
    while files.close_older(BEGIN_NS + 1, BEGIN_NS):
        pass


def archive_of_before(folder: Path, messages: list[ScoredMessage]) -> None:
    """Files as they were before the other scores were stored."""
    archive(folder, messages)
    for path in (folder / "parquet").rglob("*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(list(OTHER_SCORES)), path)


def ask(url: str, question: str, bucket: str = READINGS.name, stop: str = END) -> list[str]:
    """Flux's answer as lines of CSV, as the server writes them, in the order of their text."""
    source = f"import 'math' from(bucket: '{bucket}') |> range(start: {START}, stop: {stop})"
    flux = f"{source} {question}".replace("'", '"')
    headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/vnd.flux", "Accept": "application/csv"}
    request = urllib.request.Request(f"{url}/api/v2/query?org={ORG}", flux.encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        lines = [line.split(",") for line in answer.read().decode().splitlines() if line]
    if not lines:
        return []
    names = lines[0]
    columns = sorted(set(names) - {"", "result", "table", "_start", "_stop"})
    rows = [dict(zip(names, line, strict=True)) for line in lines if line != names]
    return sorted(",".join(row[name] for name in columns) for row in rows)


def wipe(influxd) -> None:
    names = {READINGS.name, READINGS_1M.name, READINGS_1H.name}
    for bucket in [each for each in influxd.call("GET", "/api/v2/buckets")["buckets"] if each["name"] in names]:
        headers = {"Authorization": f"Token {TOKEN}"}
        request = urllib.request.Request(
            f"{influxd.url}/api/v2/buckets/{bucket['id']}", headers=headers, method="DELETE"
        )
        urllib.request.urlopen(request, timeout=20).close()
    run = influxd.set_up()
    assert run.returncode == 0, run.stderr


def command_of(folder: Path, url: str, token_file: Path) -> list[str]:
    today = datetime.now(UTC).date()
    (folder / "rebuild.toml").write_text(
        f"""
        [rebuild]
        directory = "{folder}"
        from_date = {today - timedelta(days=500)}
        until_date = {today + timedelta(days=1)}
        [influxdb]
        url = "{url}"
        org = "{ORG}"
        token_file = "{token_file}"
        """
    )
    return [sys.executable, "-m", "stream_processor.cli", "rebuild", "--config", str(folder / "rebuild.toml")]


def rebuild(folder: Path, influxd) -> subprocess.CompletedProcess[str]:
    command = command_of(folder, influxd.url, influxd.token_file)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.needs_influxdb
def test_a_wiped_influxdb_answers_as_before_after_a_rebuild(influxd, tmp_path):
    messages = city_messages()
    archive_of_before(tmp_path, messages[:100])
    messages = [*(replace(each, other_scores={}) for each in messages[:100]), *messages[100:]]
    refused = store(influxd.url, influxd.token_file, messages)
    archive(tmp_path, messages)
    before = {name: ask(influxd.url, question) for name, question in QUESTIONS.items()}
    completeness = ask(influxd.url, COMPLETENESS_QUESTION, READINGS_1H.name)
    assert {line.split(",")[-1] for line in completeness} == {"gw-1", "gw-silent"}
    assert refused == 14, "the readings of 400 days ago"
    assert len(before["every point"]) > 900
    assert all(before.values())
    wipe(influxd)
    assert ask(influxd.url, QUESTIONS["count"]) == []
    begun_s = int(time.time())
    run = rebuild(tmp_path, influxd)
    assert run.returncode == 0, run.stderr
    assert {name: ask(influxd.url, question) for name, question in QUESTIONS.items()} == before
    assert ask(influxd.url, COMPLETENESS_QUESTION, READINGS_1H.name) == completeness
    (rows,) = duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/parquet/**/*.parquet' WHERE node_id IS NOT NULL").fetchall()
    assert run.stdout.startswith(f"rebuilt: {rows[0] - refused} points of ")
    assert " lines refused by InfluxDB, 0 rows of no channel, 0 unreadable" in run.stdout
    assert "rebuild_progress" in run.stderr
    assert not (tmp_path / "rebuild.progress").exists()
    check_windows(influxd.url, begun_s)


def check_windows(url: str, begun_s: int) -> None:
    """The downsampled buckets hold what their tasks would have computed of the points, up to a time."""
    for bucket in (READINGS_1M, READINGS_1H):
        ended_s = begun_s // bucket.window_s * bucket.window_s
        ended = datetime.fromtimestamp(ended_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for aggregate in AGGREGATES:
            field = aggregate_field(aggregate)
            window = (
                f"aggregateWindow(every: {bucket.window_s}s, fn: {aggregate}, createEmpty: false, timeSrc: '_start')"
            )
            of_points = f"|> filter(fn: (r) => r._field == 'value') |> {window} |> set(key: '_field', value: '{field}')"
            digits = "|> map(fn: (r) => ({r with _value: string(v: r._value)}))" if aggregate == "count" else ROUNDED
            wanted = ask(url, f"{of_points} {digits}", stop=ended)
            assert len(wanted) > 2
            assert ask(url, f"|> filter(fn: (r) => r._field == '{field}') {digits}", bucket.name, ended) == wanted
        for kind in (ConditionInput.SCORE_EWMA_Z, NOVELTY, GROUP):
            field = score_maximum_field(kind)
            window = f"aggregateWindow(every: {bucket.window_s}s, fn: max, createEmpty: false, timeSrc: '_start')"
            of_points = (
                f"|> filter(fn: (r) => r._field == '{kind}') |> {window} |> set(key: '_field', value: '{field}')"
            )
            wanted = ask(url, of_points, stop=ended)
            assert wanted
            assert ask(url, f"|> filter(fn: (r) => r._field == '{field}')", bucket.name, ended) == wanted


@pytest.mark.needs_influxdb
def test_a_rebuild_that_came_to_no_end_goes_on_with_what_is_not_done(influxd, tmp_path):
    wipe(influxd)
    messages = city_messages()[:60]
    store(influxd.url, influxd.token_file, messages)
    archive(tmp_path, messages)
    before = ask(influxd.url, QUESTIONS["every point"])
    wipe(influxd)
    damaged = min(tmp_path.rglob("domain=gas/*.parquet"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    first = rebuild(tmp_path, influxd)
    assert first.returncode == 1
    assert ", 3 unreadable" in first.stdout
    assert f"rebuild_unreadable part={damaged.relative_to(tmp_path / 'parquet')}" in first.stderr
    assert len(ask(influxd.url, QUESTIONS["every point"])) < len(before)
    damaged.write_bytes(whole)
    second = rebuild(tmp_path, influxd)
    assert second.returncode == 0
    assert " points of 1 files, " in second.stdout
    assert ask(influxd.url, QUESTIONS["every point"]) == before


def test_a_rebuild_waits_for_influxdb_and_stops_when_it_is_told_to(tmp_path):
    archive(tmp_path, city_messages()[:20])
    (tmp_path / "token").write_text("none")
    command = command_of(tmp_path, "http://127.0.0.1:9", tmp_path / "token")
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "influx_waiting" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        told = process.stderr.read()
        assert process.wait(10) == 1
    assert "stopped; the same command goes on: 0 points of 0 files, 0 windows" in told
