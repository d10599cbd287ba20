"""`broker-config set-up-influxdb` on a real InfluxDB, and what its downsampling computes."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

import pytest

from contracts.influx_schema import BUCKETS, READINGS, READINGS_1H, READINGS_1M
from tests.running_influxdb import ORG, TOKEN, running_influxdb, wait_until

pytestmark = pytest.mark.needs_influxdb


@pytest.fixture(scope="module")
def influxdb(tmp_path_factory):
    with running_influxdb(tmp_path_factory.mktemp("influxd")) as server:
        yield server


def write(influxdb, lines):
    request = urllib.request.Request(
        f"{influxdb.url}/api/v2/write?org={ORG}&bucket={READINGS.name}&precision=ms",
        "\n".join(lines).encode(),
        {"Authorization": f"Token {TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 204


def tasks_of(influxdb):
    return {task["name"]: task for task in influxdb.call("GET", f"/api/v2/tasks?org={ORG}")["tasks"]}


def status_of_run(influxdb, path):
    """2.7.12 answers 404 or 500 for a moment, while a run goes from the running to the finished ones."""
    try:
        return influxdb.call("GET", path)["status"]
    except urllib.error.HTTPError as error:
        return f"not told: {error.code}"


def run_task(influxdb, bucket):
    path = f"/api/v2/tasks/{tasks_of(influxdb)[f'citysense {bucket.name} gas']['id']}/runs"
    run = influxdb.call("POST", path, {})
    told = []

    def has_ended():
        told.append(status_of_run(influxdb, f"{path}/{run['id']}"))
        return told[-1] in {"success", "failed"}

    wait_until(f"the task of {bucket.name} has run", has_ended)
    assert told[-1] == "success", influxdb.call("GET", f"{path}/{run['id']}/logs")


def test_the_buckets_are_those_of_the_schema(influxdb):
    found = {each["name"]: each for each in influxdb.call("GET", f"/api/v2/buckets?org={ORG}")["buckets"]}
    for bucket in BUCKETS:
        (rule,) = found[bucket.name]["retentionRules"]
        assert (rule.get("everySeconds", 0), rule["shardGroupDurationSeconds"]) == (
            bucket.retention_s,
            bucket.shard_group_s,
        )


def test_a_second_run_changes_nothing(influxdb):
    for options in ((), ("--check",)):
        run = influxdb.set_up(*options)
        assert (run.returncode, run.stdout, run.stderr) == (0, f"{influxdb.url}: ok\n", "")


def test_check_names_what_differs_and_set_up_mends_it(influxdb):
    task = tasks_of(influxdb)[f"citysense {READINGS_1M.name} gas"]
    former = {"orgID": task["orgID"], "flux": task["flux"].replace("readings_1m gas", "readings_1m")}
    influxdb.call("POST", "/api/v2/tasks", former)
    influxdb.call("PATCH", f"/api/v2/tasks/{task['id']}", {"status": "inactive"})
    buckets = influxdb.call("GET", f"/api/v2/buckets?org={ORG}&name={READINGS.name}")["buckets"]
    rule = {"type": "expire", "everySeconds": 86_400, "shardGroupDurationSeconds": 3_600}
    influxdb.call("PATCH", f"/api/v2/buckets/{buckets[0]['id']}", {"retentionRules": [rule]})
    differences = [
        "bucket readings: kept for 86400 s instead of 2592000 s",
        "task citysense readings_1m: has become one for each domain",
        "task citysense readings_1m gas: another script, or not active",
    ]
    checked = influxdb.set_up("--check")
    assert (checked.returncode, checked.stdout.splitlines()) == (1, differences)
    mended = influxdb.set_up()
    assert (mended.returncode, mended.stdout.splitlines()) == (0, [f"{each}; done" for each in differences])
    assert influxdb.set_up("--check").returncode == 0


def test_a_wrong_token_is_one_line_and_exit_code_2(influxdb):
    influxdb.token_file.write_text("wrong\n")
    try:
        run = influxdb.set_up("--check")
    finally:
        influxdb.token_file.write_text(f"{TOKEN}\n")
    assert (run.returncode, run.stdout) == (2, "")
    assert len(run.stderr.splitlines()) == 1
    assert "401" in run.stderr


@pytest.mark.parametrize("bucket", [READINGS_1M, READINGS_1H], ids=lambda bucket: bucket.name)
def test_windows_are_computed_of_good_values_and_late_ones_again(influxdb, bucket):
    window_ms = 1000 * bucket.window_s
    first_ms = (time.time_ns() // 1_000_000 // window_ms - 4) * window_ms
    node = f"node-{bucket.name}"

    def line(after_ms, fields):
        return f"gas,district=d,gateway=g,node={node},quantity=methane_lel {fields} {first_ms + after_ms}"

    write(
        influxdb,
        [
            line(0, "value=1,score_ewma_z=0.9,score_novelty=0.55"),
            line(window_ms - 1, "value=4,score_novelty=0.75"),
            line(1, "bad_value=1000,quality=96i"),
            line(window_ms, "value=-2.5,quality=1i"),
        ],
    )
    run_task(influxdb, bucket)
    second = {"mean": -2.5, "min": -2.5, "max": -2.5, "count": 1}

    def expected(first, novelty):
        aggregates = {
            (f"value_{name}", at_ms): number
            for at_ms, numbers in ((first_ms, first), (first_ms + window_ms, second))
            for name, number in numbers.items()
        }
        return aggregates | {("score_ewma_z_max", first_ms): 0.9, ("score_novelty_max", first_ms): novelty}

    assert influxdb.stored(node, bucket.name) == expected({"mean": 2.5, "min": 1, "max": 4, "count": 2}, 0.75)
    write(influxdb, [line(2, "value=7,score_novelty=0.8")])
    run_task(influxdb, bucket)
    assert influxdb.stored(node, bucket.name) == expected({"mean": 4, "min": 1, "max": 7, "count": 3}, 0.8)
