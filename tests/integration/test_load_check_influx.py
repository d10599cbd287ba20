"""`city-simulator load-check --influx` on a real InfluxDB: what the server answers is compared with a ledger."""

from __future__ import annotations

import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from contracts.influx_schema import READINGS
from contracts.quality import Reason
from simulators.load_fleet import LoadOptions, LoadPlan
from simulators.load_gateway import Counters, LoadGateway
from simulators.load_ledger import LoadLedger
from simulators.load_spool import LoadSpool, SpoolAllowance
from tests.running_influxdb import ORG, TOKEN, running_influxdb

pytestmark = pytest.mark.needs_influxdb
NOW_MS = 1_795_000_000_000
BAD = {0: Reason.NO_ANSWER, 1: Reason.CALIBRATION}


@pytest.fixture(scope="module")
def plan():
    return LoadPlan(LoadOptions(gateways=2, rate_per_s=20.0, nodes_per_gateway=8))


@pytest.fixture(scope="module")
def influxdb(tmp_path_factory):
    with running_influxdb(tmp_path_factory.mktemp("influxd")) as server:
        yield server


def make_ledger(path, plan, due_ms):
    ledger = LoadLedger(path, plan, due_ms * 1_000_000)
    for number, planned in enumerate(plan.gateways):
        spool = LoadSpool(SpoolAllowance(1_000), 10.0, 50.0)
        gateway = LoadGateway(planned, plan.offsets_ms, spool, 1, None, Counters())
        values = np.arange(planned.buses[0].channel_count) / 8 + 0.1
        values[0] = np.nan
        batch = gateway.make(0, due_ms, values, BAD, 0.0)
        ledger.commit([(number, batch)])
        ledger.note_acknowledged(number, [batch], due_ms * 1_000_000)
    ledger.close()


def lines(plan, due_ms):
    """Line protocol by hand, as contracts.influx_schema describes it."""
    for gateway in plan.gateways:
        bus = gateway.buses[0]
        offsets = plan.offsets_ms(bus.channel_count)
        for position, (node_id, kind) in enumerate(bus.channels()):
            fields = f"value={position / 8 + 0.1}"
            if position in BAD:
                fields = f"quality={BAD[position]:d}i" + ("" if position == 0 else f",bad_value={position / 8 + 0.1}")
            tags = f"district={gateway.district_id},gateway={gateway.gateway_id},node={node_id}"
            measurement = next(node.kind.domain for node in bus.nodes if node.node_id == node_id)
            yield f"{measurement},{tags},quantity={kind.quantity} {fields} {due_ms - offsets[position]}"


def write(influxdb, rows):
    request = urllib.request.Request(
        f"{influxdb.url}/api/v2/write?org={ORG}&bucket={READINGS.name}&precision=ms",
        "\n".join(rows).encode(),
        {"Authorization": f"Token {TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 204


def check(influxdb, ledger):
    arguments = ["load-check", "--ledger", str(ledger), "--influx", influxdb.url]
    arguments += ["--influx-token-file", str(influxdb.token_file)]
    return subprocess.run(
        [sys.executable, "-m", "simulators.cli", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_what_influxdb_has_is_compared_reading_by_reading(influxdb, plan, tmp_path):
    make_ledger(tmp_path / "ledger", plan, NOW_MS)
    rows = list(lines(plan, NOW_MS))
    write(influxdb, rows[:-1])
    ended = check(influxdb, tmp_path / "ledger")
    assert ended.returncode == 1, ended.stderr
    assert "missing: load-0002-" in ended.stdout
    write(influxdb, rows)
    ended = check(influxdb, tmp_path / "ledger")
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert ended.stdout.split()[:4] == ["committed", str(plan.channel_count), "stored", str(plan.channel_count)]


def test_another_value_and_a_point_too_many_are_found_and_a_note_of_death_is_not(influxdb, plan, tmp_path):
    due_ms = NOW_MS + 3_600_000
    make_ledger(tmp_path / "ledger", plan, due_ms)
    rows = list(lines(plan, due_ms))
    write(influxdb, rows)
    series = rows[5].rpartition(" ")[0].rpartition(" ")[0]
    write(influxdb, [f"{series} quality={Reason.GATEWAY_LOST:d}i {due_ms - 1}"])
    assert check(influxdb, tmp_path / "ledger").returncode == 0
    write(influxdb, [f"{series} value=99 {rows[5].rpartition(' ')[2]}", f"{series} value=1 {due_ms}"])
    ended = check(influxdb, tmp_path / "ledger")
    assert ended.returncode == 1
    assert "altered                  1" in ended.stdout
    assert "unknown                  1" in ended.stdout


def test_an_influxdb_that_cannot_be_read_is_said(influxdb, plan, tmp_path):
    make_ledger(tmp_path / "ledger", plan, NOW_MS)
    arguments = ["load-check", "--ledger", str(tmp_path / "ledger"), "--influx", influxdb.url]
    ended = subprocess.run(
        [sys.executable, "-m", "simulators.cli", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    assert "what was stored cannot be read: HTTP Error 401" in ended.stderr
