"""Samples from a logger to Parquet: simulated loggers, the agent, mosquitto and the platform, as they run in a city.

What is stored is compared with what the simulator's signal is at each sample's time: bit for bit.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest

from contracts.fleet import FleetSnapshot
from simulators.configuration import FieldSettings, parse_configuration
from simulators.field import Field
from simulators.read_instruments import read_instruments
from simulators.run_field import make_clock
from simulators.serve_modbus_tcp import ModbusTcpServer

pytestmark = pytest.mark.needs_mosquitto

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0
RATE_HZ = 100
TOKEN = "viewer-token"

FIELD = """
[field]
seed = 11
[[bus]]
bus_id = "loggers"
kind = "modbus_tcp"
host = "127.0.0.1"
port = {port}
[[bus.node]]
node_id = "span-1"
instrument = "waveform_ring"
device_id = 1
[bus.node.signal.acceleration]
kind = "bridge_acceleration"
place = "heron"
lorries_per_minute = 30.0
[bus.node.signal.strain]
kind = "bridge_strain"
place = "heron"
mean_strain_ue = 40.0
lorries_per_minute = 30.0
[[bus.node]]
node_id = "pier-1"
instrument = "waveform_block"
device_id = 2
[bus.node.signal.acceleration]
kind = "bridge_acceleration"
place = "heron"
lorries_per_minute = 30.0
"""
AGENT = """
[gateway]
gateway_id = "gw-1"
district_id = "harbour"
[mqtt]
port = {mqtt}
primary_host = "citysense"
keepalive_s = 2
[spool]
path = "spool.sqlite"
flush_interval_s = 0.1
[[bus]]
bus_id = "loggers"
kind = "modbus_tcp"
host = "127.0.0.1"
port = {modbus}
[[bus.node]]
node_id = "span-1"
profile = "waveform_ring"
device_id = 1
poll_interval_s = 0.2
waveform = {{ cycle_bin_width = {{ strain = 2.0 }}, cycle_bins = 8 }}
[[bus.node]]
node_id = "pier-1"
profile = "waveform_block"
device_id = 2
poll_interval_s = 0.2
waveform = {{ features = ["rms", "peak"] }}
"""
PROCESSOR = """
[http]
port = {http}
[mqtt]
port = {mqtt}
host_id = "citysense"
[store]
directory = "store"
parquet_interval_s = 1.0
[registry]
url = "http://127.0.0.1:{dead}"
token_file = "token"
[alarm_service]
url = "http://127.0.0.1:{dead}"
token_file = "token"
[[principal]]
name = "v"
role = "viewer"
token_sha256 = "{token}"
"""
QUANTITIES = {
    "span-1": ("acceleration", "strain", "acceleration_rms", "strain_rms", "strain_cycles_01"),
    "pier-1": ("acceleration", "acceleration_rms", "acceleration_peak"),
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_S} s"
        time.sleep(0.1)


class Loggers:
    """The simulated loggers, in a thread; they may fall silent."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start_ns = time.time_ns()
        self.instruments = read_instruments()
        settings: FieldSettings = parse_configuration(FIELD.format(port=self.port), "field.toml", self.instruments)
        self.field = Field(settings, self.instruments, self.start_ns)
        self._clock = make_clock(self.start_ns)
        self._loop = asyncio.new_event_loop()
        self._server = ModbusTcpServer(self.field.buses[0], self._clock, None)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.open()

    def open(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.open(), self._loop).result(5)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(5)

    def stop(self) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def truth(self, node_id: str, quantity: str, count: int) -> np.ndarray:
        """The first samples by the signal's own formula, as the instrument's registers round them."""
        (node,) = (
            node for device in self.field.buses[0].devices.values() for node in device.nodes if node.node_id == node_id
        )
        times_ns = [self.start_ns + round(number * 1e9 / RATE_HZ) for number in range(count)]
        values = [node.true_value(quantity, time_ns) for time_ns in times_ns]
        if node_id == "pier-1":  # whole thousandths in an int16, by a scale of 0.001
            return np.array([0.001 * round(value / 0.001) for value in values], np.float64).astype(np.float32)
        return np.array(values, np.float64).astype(np.float32)


@dataclass
class City:
    folder: Path
    loggers: Loggers
    http_port: int
    processes: dict[str, subprocess.Popen[bytes]]

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log)

    def start_processor(self) -> None:
        config = str(self.folder / "processor.toml")
        self.start("processor", sys.executable, "-m", "stream_processor.cli", "run", "--config", config)

    def start_agent(self) -> None:
        self.start("agent", sys.executable, "-m", "edge_agent.cli", "run", "--config", str(self.folder / "agent.toml"))

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)

    def get(self, path: str) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=5.0) as answer:
            return json.load(answer)

    def blocks(self) -> list[tuple]:
        """node, quantity, first_ns, samples of what is in Parquet, in order of time."""
        folder = self.folder / "store" / "waveforms"
        if not any(folder.rglob("*.parquet")):
            return []
        table = duckdb.sql(
            f"SELECT node_id, quantity, first_ns, sample_rate_hz, reason, samples"
            f" FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true) ORDER BY first_ns"
        ).to_arrow_table()
        columns = [table.column(name).to_pylist() for name in table.column_names[:5]]
        lists = table.column("samples").combine_chunks()
        samples = [np.asarray(lists[at].values.to_numpy(zero_copy_only=False)) for at in range(len(lists))]
        return list(zip(*columns, samples, strict=True))

    def of(self, node_id: str, quantity: str) -> list[tuple]:
        return [block for block in self.blocks() if block[:2] == (node_id, quantity)]

    def explain(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))


def fleet() -> FleetSnapshot:
    site = {
        "site_id": "heron",
        "district_id": "harbour",
        "domain": "bridge",
        "name": "Heron",
        "latitude": 0,
        "longitude": 0,
    }
    channels = [(node_id, quantity) for node_id, quantities in QUANTITIES.items() for quantity in quantities]
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": "harbour", "name": "Harbour"}],
            "sites": [site],
            "gateways": [{"gateway_id": "gw-1", "district_id": "harbour", "name": "One"}],
            "nodes": [
                {"node_id": node_id, "gateway_id": "gw-1", "bus_id": "loggers", "site_id": "heron", "model": "ring"}
                for node_id in QUANTITIES
            ],
            "channels": [
                {"channel_id": number, "node_id": node_id, "quantity": quantity}
                for number, (node_id, quantity) in enumerate(channels, start=1)
            ],
        }
    )


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert mosquitto
    mqtt, http = free_port(), free_port()
    loggers = Loggers()
    (tmp_path / "mosquitto.conf").write_text(f"listener {mqtt} 127.0.0.1\nallow_anonymous true\n")
    (tmp_path / "agent.toml").write_text(AGENT.format(mqtt=mqtt, modbus=loggers.port))
    token = hashlib.sha256(TOKEN.encode()).hexdigest()
    (tmp_path / "processor.toml").write_text(PROCESSOR.format(mqtt=mqtt, http=http, dead=free_port(), token=token))
    (tmp_path / "token").write_text("none")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "fleet.json").write_text(fleet().model_dump_json())
    city = City(tmp_path, loggers, http, {})
    try:
        city.start("mosquitto", mosquitto, "-c", str(tmp_path / "mosquitto.conf"))
        city.start_processor()
        city.start_agent()
        yield city
    finally:
        for name in list(city.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                city.kill(name)
        loggers.stop()


def place_in(truth: np.ndarray, samples: np.ndarray) -> int:
    """Where these samples stand in the truth, bit for bit; -1: nowhere."""
    at = truth.tobytes().find(samples.tobytes())
    return at // 4 if at >= 0 and at % 4 == 0 else -1


def check_stored(city: City, node_id: str, quantity: str) -> tuple[list[int], list[int]]:
    """All stored blocks are the signal's samples, once each, in time; gives first and end number of each block."""
    blocks = city.of(node_id, quantity)
    truth = city.loggers.truth(node_id, quantity, 6_000)
    firsts = [place_in(truth, samples) for *_, samples in blocks]
    assert min(firsts) >= 0, f"{node_id} {quantity}: a block that is not of the signal"
    numbers = [first + at for first, block in zip(firsts, blocks, strict=True) for at in range(len(block[-1]))]
    assert len(set(numbers)) == len(numbers), "a sample twice"
    for (_, _, first_ns, rate_hz, reason, samples), first in zip(blocks, firsts, strict=True):
        assert (rate_hz, reason) == (RATE_HZ, "ok")
        last_ns = first_ns + (len(samples) - 1) * 10**9 // RATE_HZ
        assert last_ns // 10**6 <= (first_ns // 10**9 + 1) * 1_000, (
            "within one second, and what the clock was slewed in it"
        )
        error_s = (first_ns - city.loggers.start_ns) / 1e9 - first / RATE_HZ
        assert -0.05 < error_s < 0.3, f"sample {first}: {error_s} s off"
    return firsts, [first + len(block[-1]) for first, block in zip(firsts, blocks, strict=True)]


def test_every_sample_is_stored_once_bit_for_bit_with_its_time_though_the_platform_was_killed(city: City) -> None:
    def stored(seconds: int) -> Callable[[], bool]:
        keys = (("span-1", "strain"), ("pier-1", "acceleration"))
        return lambda: all(len(city.of(*key)) >= seconds for key in keys)

    try:
        wait_for(stored(3), "three seconds of samples in Parquet")
        city.kill("processor")
        time.sleep(2.0)
        city.start_processor()
        wait_for(stored(8), "what was sampled while the platform was away")
    except AssertionError as error:
        raise AssertionError(city.explain()) from error
    for node_id, quantity in (("span-1", "acceleration"), ("span-1", "strain"), ("pier-1", "acceleration")):
        firsts, ends = check_stored(city, node_id, quantity)
        assert firsts[1:] == ends[:-1], f"{node_id} {quantity}: samples are missing between blocks"
    first_ns, samples = city.of("span-1", "strain")[4][2], city.of("span-1", "strain")[4][-1].astype(np.float64)
    page = city.get(f"/v1/channels/2/waveform?from_ns={first_ns}&to_ns={first_ns + 1}")
    assert np.array(page["blocks"][0]["samples"], np.float32).tobytes() == samples.astype(np.float32).tobytes()
    second_ns = first_ns // 10**9 * 10**9
    mean = city.get(f"/v1/channels/2/trend?from_ns={second_ns}&to_ns={second_ns + 1}&buckets=1")["mean"]
    rms = city.get(f"/v1/channels/4/trend?from_ns={second_ns}&to_ns={second_ns + 1}&buckets=1")["mean"]
    assert mean == [pytest.approx(samples.mean(), rel=1e-12)]
    assert rms == [pytest.approx(samples.std(), rel=1e-9)]
    with contextlib.closing(duckdb.connect()) as database:
        files = f"{city.folder}/store/parquet/**/*.parquet"
        (cycles,) = database.execute(
            f"SELECT max(value) FROM read_parquet('{files}') WHERE quantity = 'strain_cycles_01'"
        ).fetchone()
    assert cycles > 0


def test_samples_that_the_logger_wrote_over_are_a_gap_that_is_told_and_not_a_silence(city: City) -> None:
    try:
        wait_for(lambda: len(city.of("pier-1", "acceleration")) >= 2, "the first seconds")
        city.loggers.close()
        time.sleep(3.0)
        city.loggers.open()
        before = len(city.of("pier-1", "acceleration"))
        wait_for(lambda: len(city.of("pier-1", "acceleration")) >= before + 3, "samples behind the gap")
    except AssertionError as error:
        raise AssertionError(city.explain()) from error
    firsts, ends = check_stored(city, "span-1", "strain")
    assert firsts[1:] == ends[:-1], "a ring of ten seconds bridges three seconds without a line"
    firsts, _ = check_stored(city, "pier-1", "acceleration")
    gaps = [later - earlier for earlier, later in pairwise(firsts) if later - earlier > 150]
    assert len(gaps) == 1, "one block buffer: what was written over is lost"
    files = f"{city.folder}/store/parquet/**/*.parquet"
    reasons = duckdb.sql(
        f"SELECT DISTINCT reason FROM read_parquet('{files}')"
        " WHERE node_id = 'pier-1' AND quantity = 'acceleration_rms'"
    ).fetchall()
    assert {"ok", "incomplete"} <= {reason for (reason,) in reasons}


def test_the_spool_row_format_is_the_one_that_is_documented() -> None:
    """A decoder of its own, by docs/waveforms.md."""
    from array import array

    from edge_agent.waveform.waveform_block import WaveformBlock, encode_blocks

    samples = array("f", [1.0, -2.5, 3.25])
    octets = encode_blocks(7, 9, [WaveformBlock(3, 123_456_789, 100.0, 4, samples)])
    version, reserved, blocks, total = struct.unpack_from("<BBHI", octets)
    assert (version, reserved, blocks, total) == (87, 0, 1, 3)
    assert struct.unpack_from("<IIqdB", octets, 8) == (3, 3, 123_456_789, 100.0, 4)
    assert struct.unpack_from("<3f", octets, 8 + 28) == (1.0, -2.5, 3.25)
    assert len(octets) == 8 + 28 + 12 + 4
