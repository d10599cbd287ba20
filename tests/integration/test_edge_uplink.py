"""The whole agent as a process, against a real mosquitto, a real Modbus server and a minimal Sparkplug host.

The host here decodes with Google's protobuf by way of `contracts`; the agent writes its DDATA bytes itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType as SimType
from pymodbus.simulator import SimData, SimDevice

from contracts import uplink
from contracts.ranges import BATCH_MAX, RangeSet
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, decode_payload, encode_payload
from tests.edge_configuration import gateway, modbus_bus, strain_node

pytestmark = pytest.mark.needs_mosquitto

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0
STATE_TOPIC = "spBv1.0/STATE/citysense"
NCMD_TOPIC = "spBv1.0/harbour/NCMD/gw-test"

CONFIGURATION = "".join(
    (
        gateway(
            "gw-test",
            mqtt='protocol = "{protocol}"\nkeepalive_s = 2\n{primary_host}',
            spool="flush_interval_s = 0.1\nresend_after_s = {resend_after_s}\nbacklog_batches_per_s = 500.0",
        ),
        modbus_bus("strain-tcp"),
        strain_node("strain-1"),
        strain_node("strain-2", channel_index=2),
    )
)
STRAIN = 4.062 * (1000.0**2 - 900.0**2) * 1e-3
"""Of 10000 tenths of a hertz, by the gauge's formula."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_S} s"
        time.sleep(0.02)


@dataclass
class Broker:
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        assert binary
        path = self.folder / "mosquitto.conf"
        path.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.process = subprocess.Popen([binary, "-c", str(path)], stderr=subprocess.DEVNULL)
        wait_for(self._accepts, "mosquitto listens")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(5)
            self.process = None

    def _accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
            return True
        return False


class FieldServer:
    """A Modbus server in a thread: device 1 with register 100 + n = 10000 (1000.0 Hz)."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10), "the Modbus server did not start"

    def stop(self) -> None:
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)
            self._thread = None

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        device = SimDevice(1, simdata=[SimData(100, values=[10_000] * 16, datatype=SimType.REGISTERS)])
        server = ModbusTcpServer([device], address=("127.0.0.1", self._port))
        await server.serve_forever(background=True)
        ready.set()
        await self._stop.wait()
        await server.shutdown()


@dataclass
class Host:
    """Collects everything, and says what it is told to say."""

    port: int
    messages: list[tuple[str, bytes, int]] = field(default_factory=list)
    client: mqtt.Client = field(init=False)

    def start(self) -> None:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="test-host")
        subscribed = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe("spBv1.0/harbour/#", qos=1)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = lambda _c, _u, one: self.messages.append((one.topic, one.payload, one.qos))
        self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()
        assert subscribed.wait(10)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def of_type(self, kind: str) -> list[Payload]:
        return [decode_payload(payload) for topic, payload, _ in list(self.messages) if topic.split("/")[2] == kind]

    def batches(self) -> list[tuple[int, int, Payload]]:
        found = []
        for payload in self.of_type("DDATA"):
            named = {metric.name: metric.value for metric in payload.metrics if metric.name}
            found.append((named[uplink.EPOCH], named[uplink.BATCH], payload))
        return found

    def command(self, *metrics: Metric) -> None:
        self.client.publish(NCMD_TOPIC, encode_payload(Payload(timestamp_ms=1, metrics=list(metrics))), qos=0)

    def command_ranges(self, epoch_name: str, ranges_name: str, epoch: int, numbers: list[int]) -> None:
        flat = RangeSet((number, number) for number in numbers).flatten()
        self.command(
            Metric(name=epoch_name, datatype=DataType.UINT64, value=epoch),
            Metric(name=ranges_name, datatype=DataType.UINT64_ARRAY, value=flat),
        )

    def acknowledge(self, epoch: int, numbers: list[int]) -> None:
        self.command_ranges(uplink.ACK_EPOCH, uplink.ACK_RANGES, epoch, numbers)

    def state(self, is_online: bool, timestamp_ms: int) -> None:
        octets = json.dumps({"online": is_online, "timestamp": timestamp_ms})
        self.client.publish(STATE_TOPIC, octets, qos=1, retain=True).wait_for_publish(5)


@dataclass
class Agent:
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(self.folder / "agent.toml")]
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(5)
        self.process = None

    def terminate(self) -> tuple[int, float]:
        assert self.process is not None
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self.process = None
        return code, time.monotonic() - began_s

    def spooled(self) -> list[tuple[int, int, int]]:
        """(epoch, batch, readings) that wait; none while the agent has not yet made its spool."""
        path = self.folder / "spool.sqlite"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'batch'").fetchone():
                return []
            sql = "SELECT epoch, batch, reading_count FROM batch ORDER BY epoch, batch"
            return connection.execute(sql).fetchall()


@dataclass
class Bench:
    broker: Broker
    field: FieldServer
    host: Host
    agent: Agent


@contextlib.contextmanager
def bench(folder: Path, protocol: str = "5", primary_host: str = "", resend_after_s: float = 60.0) -> Iterator[Bench]:
    mqtt_port, modbus_port = free_port(), free_port()
    text = CONFIGURATION.format(
        mqtt_port=mqtt_port,
        modbus_port=modbus_port,
        protocol=protocol,
        primary_host=f'primary_host = "{primary_host}"' if primary_host else "",
        resend_after_s=resend_after_s,
    )
    (folder / "agent.toml").write_text(text)
    parts = Bench(Broker(mqtt_port, folder), FieldServer(modbus_port), Host(mqtt_port), Agent(folder))
    parts.broker.start()
    parts.field.start()
    parts.host.start()
    try:
        yield parts
    finally:
        if parts.agent.process is not None:
            parts.agent.kill()
        parts.host.stop()
        parts.field.stop()
        parts.broker.stop()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_births_then_data_by_alias_in_sequence_and_a_proper_death_at_the_end(tmp_path, protocol):
    with bench(tmp_path, protocol) as parts:
        parts.agent.start()
        wait_for(lambda: len(parts.host.batches()) >= 5, "five batches")
        code, took_s = parts.agent.terminate()
        assert (code, took_s < 3.0) == (0, True)
        # MQTT 5: the agent's own death, and by "Disconnect with Will Message" the broker's as well
        deaths = 2 if protocol == "5" else 1
        wait_for(lambda: len(parts.host.of_type("NDEATH")) == deaths, "the death")
        kinds = [topic.split("/")[2] for topic, _, _ in parts.host.messages]
        assert kinds[:2] == ["NBIRTH", "DBIRTH"]
        node_birth = {metric.name: metric for metric in parts.host.of_type("NBIRTH")[0].metrics}
        assert node_birth["Node Control/Rebirth"].value is False
        assert node_birth["bdSeq"].datatype is DataType.INT64
        assert node_birth[uplink.EPOCH].value > 0
        for death in parts.host.of_type("NDEATH"):
            assert [(metric.name, metric.value) for metric in death.metrics] == [("bdSeq", node_birth["bdSeq"].value)]
            assert death.seq is None
        bus_birth = parts.host.of_type("DBIRTH")[0]
        aliases = {metric.alias: metric for metric in bus_birth.metrics if metric.alias is not None}
        assert {metric.name for metric in aliases.values()} == {"strain-1/strain", "strain-2/strain"}
        assert all(metric.properties["engUnit"].value == "um/m" for metric in aliases.values())
        values = [m for payload in parts.host.of_type("DDATA") for m in payload.metrics if m.alias is not None]
        assert all(m.name is None and m.alias in aliases and m.value == pytest.approx(STRAIN) for m in values)
        assert not any(m.properties for m in values)
        last = parts.host.batches()[-1][2]
        assert not any(m.is_historical for m in last.metrics), "only what was read before the birth is history"
        sequence = [decode_payload(octets).seq for topic, octets, _ in parts.host.messages if "NDEATH" not in topic]
        assert sequence == [number % 256 for number in range(len(sequence))]
        assert all(qos == 0 for topic, _, qos in parts.host.messages if "NDEATH" not in topic)
        batches = [batch for _, batch, _ in parts.host.batches()]
        assert sorted(batches) == list(range(1, len(batches) + 1))


def test_a_row_leaves_the_spool_on_acknowledgement_and_not_before(tmp_path):
    with bench(tmp_path) as parts:
        parts.agent.start()
        wait_for(lambda: len(parts.host.batches()) >= 4, "four batches")
        epoch = parts.host.batches()[0][0]
        assert [row[1] for row in parts.agent.spooled()][:4] == [1, 2, 3, 4], "published is not acknowledged"
        parts.host.acknowledge(epoch, [1, 3])
        wait_for(lambda: (epoch, 1) not in {row[:2] for row in parts.agent.spooled()}, "batch 1 is deleted")
        left = {row[1] for row in parts.agent.spooled()}
        assert 3 not in left
        assert {2, 4} <= left
        parts.host.acknowledge(epoch + 1, [2])
        parts.host.acknowledge(epoch, [4])
        wait_for(lambda: 4 not in {row[1] for row in parts.agent.spooled()}, "batch 4 is deleted")
        assert 2 in {row[1] for row in parts.agent.spooled()}, "the acknowledgement of another epoch deletes nothing"


def test_what_is_not_acknowledged_is_sent_again_as_history_with_its_identity_and_times(tmp_path):
    with bench(tmp_path, resend_after_s=0.5) as parts:
        parts.agent.start()
        wait_for(lambda: len([b for b in parts.host.batches() if b[1] == 5]) >= 2, "batch 5 comes twice")
        first, again = [payload for _, batch, payload in parts.host.batches() if batch == 5][:2]
        rows = [[(m.alias, m.timestamp_ms, m.value) for m in p.metrics if m.alias is not None] for p in (first, again)]
        assert rows[0] == rows[1]
        assert [m.is_historical for m in first.metrics if m.alias is not None] == [False, False]
        assert [m.is_historical for m in again.metrics if m.alias is not None] == [True, True]


def test_after_kill_9_the_next_start_has_a_new_epoch_and_resends_the_old_batches_as_what_they_were(tmp_path):
    with bench(tmp_path) as parts:
        parts.agent.start()
        wait_for(lambda: len(parts.host.batches()) >= 4, "four batches")
        parts.agent.kill()
        spooled = parts.agent.spooled()
        wait_for(lambda: parts.host.of_type("NDEATH"), "the will")
        assert spooled
        parts.host.messages.clear()
        parts.agent.start()
        old = {(epoch, batch) for epoch, batch, _ in spooled}
        wait_for(lambda: old <= {(e, b) for e, b, _ in parts.host.batches()}, "all old batches are resent")
        new_epoch = next(m.value for m in parts.host.of_type("NBIRTH")[0].metrics if m.name == uplink.EPOCH)
        assert max(epoch for epoch, _ in old) < new_epoch
        for epoch, batch, payload in parts.host.batches():
            history = {m.is_historical for m in payload.metrics if m.alias is not None}
            if (epoch, batch) in old:
                assert history == {True}
        wait_for(lambda: any(epoch == new_epoch for epoch, _, _ in parts.host.batches()), "live batches")


def test_each_connection_counts_bd_seq_and_the_will_carries_it(tmp_path):
    with bench(tmp_path) as parts:
        seen = []
        for _ in range(3):
            parts.host.messages.clear()
            parts.agent.start()
            wait_for(lambda: parts.host.of_type("DDATA"), "data")
            parts.agent.kill()
            wait_for(lambda: parts.host.of_type("NDEATH"), "the will")
            born = next(m.value for m in parts.host.of_type("NBIRTH")[0].metrics if m.name == "bdSeq")
            (died,) = [m.value for m in parts.host.of_type("NDEATH")[0].metrics]
            assert born == died
            seen.append(born)
        assert seen == [seen[0], seen[0] + 1, seen[0] + 2]


def test_rebirth_on_command(tmp_path):
    with bench(tmp_path) as parts:
        parts.agent.start()
        wait_for(lambda: parts.host.of_type("DDATA"), "data")
        parts.host.command(Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True))
        wait_for(lambda: len(parts.host.of_type("DBIRTH")) == 2, "the second birth")
        again = parts.host.of_type("NBIRTH")[1]
        assert again.seq == 0
        bd_seqs = [m.value for birth in parts.host.of_type("NBIRTH") for m in birth.metrics if m.name == "bdSeq"]
        assert bd_seqs[0] == bd_seqs[1], "a rebirth is no new connection"
        reborn = next(m for m in parts.host.of_type("DBIRTH")[1].metrics if m.name == "strain-1/strain")
        assert reborn.value == pytest.approx(STRAIN), "a birth shows the current value"


def test_poison_commands_are_counted_and_change_nothing(tmp_path):
    with bench(tmp_path) as parts:
        parts.agent.start()
        wait_for(lambda: parts.host.of_type("DDATA"), "data")
        parts.host.client.publish(NCMD_TOPIC, b"\xff\xff\xff\xff garbage")
        parts.host.command(Metric(name=uplink.ACK_RANGES, datatype=DataType.UINT64_ARRAY, value=[1, 2]))
        for last in (BATCH_MAX, 2**64 - 1):
            for epoch in (1, 2**64 - 1):
                parts.host.command(
                    Metric(name=uplink.ACK_EPOCH, datatype=DataType.UINT64, value=epoch),
                    Metric(name=uplink.ACK_RANGES, datatype=DataType.UINT64_ARRAY, value=[0, last]),
                    Metric(name=uplink.RESEND_EPOCH, datatype=DataType.UINT64, value=epoch),
                    Metric(name=uplink.RESEND_RANGES, datatype=DataType.UINT64_ARRAY, value=[0, last]),
                )
        parts.host.client.publish("spBv1.0/harbour/DCMD/gw-test/strain-tcp", b"")
        count = len(parts.host.of_type("DDATA"))
        wait_for(lambda: len(parts.host.of_type("DDATA")) >= count + 3, "data go on")
        assert parts.agent.process.poll() is None
        assert len(parts.host.of_type("NBIRTH")) == 1
        assert "command_rejected" in (tmp_path / "agent.log").read_text()


def test_batches_that_the_host_misses_are_resent_or_declared_lost(tmp_path):
    with bench(tmp_path) as parts:
        parts.agent.start()
        wait_for(lambda: len(parts.host.batches()) >= 4, "four batches")
        epoch = parts.host.batches()[0][0]
        parts.host.acknowledge(epoch, [2])
        wait_for(lambda: 2 not in {row[1] for row in parts.agent.spooled()}, "batch 2 is deleted")
        parts.host.messages.clear()
        parts.host.command_ranges(uplink.RESEND_EPOCH, uplink.RESEND_RANGES, epoch, [1, 2, 3, 99_999])
        wait_for(lambda: {1, 3} <= {batch for _, batch, _ in parts.host.batches()}, "batches 1 and 3 again")
        wait_for(lambda: parts.host.of_type("NDATA"), "the list of lost batches")
        lost = {m.name: m.value for m in parts.host.of_type("NDATA")[0].metrics}
        assert lost[uplink.LOST_EPOCH] == epoch
        pair = b"".join(number.to_bytes(8, "little") for number in (2, 2))  # a UInt64Array, by its birth
        assert lost[uplink.LOST_RANGES] == pair, "99999 is not lost: it does not exist yet"


def test_a_lost_line_is_one_death_of_the_bus_and_a_birth_when_it_is_back(tmp_path):
    with bench(tmp_path) as parts:
        parts.agent.start()
        wait_for(lambda: len(parts.host.batches()) >= 2, "data")
        parts.field.stop()
        wait_for(lambda: parts.host.of_type("DDEATH"), "the death of the bus")
        last = parts.host.batches()[-1][2]
        bad = [m for m in last.metrics if m.alias is not None]
        assert {(m.value, m.properties["Quality"].value, m.properties["Reason"].value) for m in bad} == {
            (None, 0, "line_lost")
        }
        assert len(bad) == 2, "once per channel"
        births = len(parts.host.of_type("DBIRTH"))
        parts.field.start()
        wait_for(lambda: len(parts.host.of_type("DBIRTH")) > births, "the birth of the bus")
        count = len(parts.host.batches())
        wait_for(lambda: len(parts.host.batches()) > count, "data again")
        assert len(parts.host.of_type("DDEATH")) == 1
        topics = [topic for topic, _, _ in parts.host.messages if "/N" in topic]
        assert topics == ["spBv1.0/harbour/NBIRTH/gw-test"], "the gateway itself never died"


def test_nothing_is_published_before_the_primary_host_is_online_and_all_of_it_after(tmp_path):
    with bench(tmp_path, primary_host="citysense") as parts:
        parts.agent.start()
        wait_for(lambda: len(parts.agent.spooled()) >= 5, "spooled batches")
        assert parts.host.messages == []
        parts.host.state(is_online=True, timestamp_ms=1_000)
        waiting = {row[:2] for row in parts.agent.spooled()}
        wait_for(lambda: waiting <= {(e, b) for e, b, _ in parts.host.batches()}, "the backlog")
        parts.host.state(is_online=False, timestamp_ms=999)  # older than what is believed
        count = len(parts.host.batches())
        wait_for(lambda: len(parts.host.batches()) >= count + 3, "data go on")
        assert not parts.host.of_type("NDEATH")
        parts.host.state(is_online=False, timestamp_ms=1_000)
        wait_for(lambda: parts.host.of_type("NDEATH"), "the death when the host goes")
        count = len(parts.host.messages)
        spooled = len(parts.agent.spooled())
        wait_for(lambda: len(parts.agent.spooled()) >= spooled + 3, "readings are spooled meanwhile")
        assert len(parts.host.messages) == count, "nothing is published while the host is offline"
        parts.host.state(is_online=True, timestamp_ms=2_000)
        wait_for(lambda: len(parts.host.of_type("NBIRTH")) == 2, "the birth when the host is back")


def test_a_broker_that_dies_costs_nothing(tmp_path):
    with bench(tmp_path) as parts:
        parts.agent.start()
        wait_for(lambda: len(parts.host.batches()) >= 2, "data")
        parts.broker.stop()
        before = len(parts.agent.spooled())
        wait_for(lambda: len(parts.agent.spooled()) >= before + 3, "readings are spooled meanwhile")
        parts.host.messages.clear()
        parts.broker.start()
        waiting = {row[:2] for row in parts.agent.spooled()}
        wait_for(lambda: waiting <= {(e, b) for e, b, _ in parts.host.batches()}, "everything is sent")
        assert [m.is_historical for m in parts.host.batches()[0][2].metrics if m.alias is not None]


def test_sigterm_ends_the_agent_within_3_s_at_whatever_moment_it_comes(tmp_path):
    with bench(tmp_path) as parts:
        path = tmp_path / "agent.toml"
        path.write_text(path.read_text().replace("poll_interval_s = 0.2", "poll_interval_s = 0.01"))
        for delay_s in (0.0, 0.013, 0.031, 0.057):
            parts.host.messages.clear()
            parts.agent.start()
            wait_for(lambda: parts.host.of_type("DDATA"), "data")
            time.sleep(delay_s)
            code, took_s = parts.agent.terminate()
            assert (code, took_s < 3.0) == (0, True), f"exit code {code} after {took_s:.1f} s"


def test_read_once_and_spool_status_say_what_a_field_engineer_wants_to_know(tmp_path):
    def say(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "edge_agent.cli", *arguments, "--config", str(tmp_path / "agent.toml")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    with bench(tmp_path) as parts:
        assert say("spool-status")[1].endswith("there is no spool yet\n")
        assert say("spool", "status") == say("spool-status")
        assert say("read-once", "--node", "strain-2") == (0, "strain-tcp/strain-2  strain  771.8 µε  good\n")
        assert say("read-once", "--node", "strain-3")[0] == 2
        parts.field.stop()
        code, text = say("read-once")
        assert code == 1
        assert text.count("line_lost") == 2
        parts.field.start()
        parts.agent.start()
        wait_for(lambda: len(parts.host.batches()) >= 3, "data")
        parts.agent.kill()
        code, text = say("spool-status")
        assert code == 0
        assert f"{sum(row[2] for row in parts.agent.spooled())} readings in {len(parts.agent.spooled())}" in text
