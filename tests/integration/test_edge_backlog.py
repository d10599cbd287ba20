"""Four hours offline, then a host: alarms come first, the backlog behind them, on a fast line and on a slow one.

The agent is the real process, the broker a real mosquitto. The spool with its four hours is written through the agent's
own spool, because nobody waits four hours for a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contracts import uplink
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, decode_payload, encode_payload
from edge_agent.channel_table import ChannelTable
from edge_agent.spool.reading_buffer import SealedBatch
from edge_agent.spool.store_readings import Spool
from tests.edge_configuration import gateway, modbus_bus, strain_node

pytestmark = pytest.mark.needs_mosquitto

ROOT = Path(__file__).parents[2]
SECOND_NS = 1_000_000_000
READINGS_PER_S = 300
OFFLINE_S = 4 * 3600
BATCH_READINGS = 200
OLD_EPOCH = 1_000_000_000
QUIET_TENTHS_HZ, LOUD_TENTHS_HZ = 10_000, 12_000
ALARM_STRAIN = 1000.0
"""Between what the two give: 771.8 and 2559.1 µε."""
ALARM_WITHIN_S = 2.0

CONFIGURATION = "".join(
    (
        gateway(
            "gw-test",
            mqtt="keepalive_s = 5",
            spool="flush_interval_s = 1.0\nuplink_bytes_per_s = {uplink_bytes_per_s}",
        ),
        modbus_bus("strain-tcp", timeout_s=0.5),
        strain_node(),
        """
[[output]]
output_id = "siren"
[[output.condition]]
node_id = "strain-1"
quantity = "strain"
set_point = {set_point}
[output.on]
kind = "command"
argv = ["true"]
[output.off]
kind = "command"
argv = ["true"]
""",
    )
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        time.sleep(0.02)


def write_four_hours(path: Path) -> int:
    """All channels once a second for four hours, in batches as the agent makes them; gives how many.

    Every 100th batch holds a bad reading.
    """
    channels = ChannelTable()
    for number in range(READINGS_PER_S):
        channels.add("strain-tcp", f"old-{number // 3}", ("strain", "temperature", "level")[number % 3])
    began_ms = time.time_ns() // 10**6 - OFFLINE_S * 1000
    count = OFFLINE_S * READINGS_PER_S // BATCH_READINGS
    rows = [
        (1 + at % READINGS_PER_S, at * 1000 // READINGS_PER_S) for at in range(2 * READINGS_PER_S)
    ]  # of two seconds
    spool = Spool(path, 1 << 31)
    spool.begin_epoch(OLD_EPOCH)
    pending = []
    for batch in range(1, count + 1):
        turn, part = divmod(batch - 1, 3)
        base_ns = (began_ms + turn * 2000) * 10**6
        here = rows[part * BATCH_READINGS : (part + 1) * BATCH_READINGS]
        readings = [(alias, base_ns + shift_ms * 10**6, 20.0 + alias, 0) for alias, shift_ms in here]
        is_urgent = batch % 100 == 0
        if is_urgent:
            readings[7] = (*readings[7][:2], None, 64)
        pending.append(SealedBatch(OLD_EPOCH, batch, "strain-tcp", tuple(readings), is_urgent=is_urgent))
        if len(pending) == 400 or batch == count:
            spool.commit(pending, channels)
            pending = []
    spool.close()
    return count


class Gauge:
    """A Modbus TCP device by hand: one frequency for all registers, which a test may change."""

    def __init__(self) -> None:
        self.tenths_hz = QUIET_TENTHS_HZ
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._stop = asyncio.Event()

    def __enter__(self) -> Gauge:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.sleep(0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                function, _, quantity = struct.unpack(">BHH", await reader.readexactly(length - 1))
                registers = struct.pack(">H", self.tenths_hz) * quantity
                head = struct.pack(">HHHBBB", transaction, 0, 3 + len(registers), unit, function, len(registers))
                writer.write(head + registers)
        writer.close()


class SlowLine:
    """A TCP line to the broker that carries so many bytes a second upwards, and holds back little more than that."""

    def __init__(self, broker_port: int, bytes_per_s: int) -> None:
        self._broker_port, self._bytes_per_s = broker_port, bytes_per_s
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> SlowLine:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._broker_port))
                self._sockets += [near, far]
                for source, target, rate in ((near, far, self._bytes_per_s), (far, near, 0)):
                    thread = threading.Thread(target=self._carry, args=(source, target, rate), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _carry(self, source: socket.socket, target: socket.socket, bytes_per_s: int) -> None:
        with contextlib.suppress(OSError):
            while octets := source.recv(2_048):
                target.sendall(octets)
                if bytes_per_s:
                    time.sleep(len(octets) / bytes_per_s)


class Host:
    """Acknowledges every batch, and notes when what arrived."""

    def __init__(self, port: int) -> None:
        self.identities: Counter[tuple[int, int]] = Counter()
        self.old_batches: list[tuple[float, int, bool]] = []
        """(when, batch, all of it historical) of the four hours."""
        self.live: list[tuple[float, float]] = []
        """(when, strain) of live readings."""
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="test-host")
        subscribed = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe("spBv1.0/harbour/#", qos=0)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(10)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _take(self, client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        if "/DDATA/" not in message.topic:
            return
        payload = decode_payload(message.payload, {uplink.EPOCH: DataType.UINT64, uplink.BATCH: DataType.UINT64})
        named = {metric.name: metric.value for metric in payload.metrics if metric.name}
        epoch, batch = named[uplink.EPOCH], named[uplink.BATCH]
        readings = [metric for metric in payload.metrics if metric.alias is not None]
        self.identities[epoch, batch] += 1
        if epoch == OLD_EPOCH:
            self.old_batches.append((time.monotonic(), batch, all(one.is_historical for one in readings)))
        for one in readings:
            if not one.is_historical and isinstance(one.value, float):
                self.live.append((time.monotonic(), one.value))
        metrics = [
            Metric(name=uplink.ACK_EPOCH, datatype=DataType.UINT64, value=epoch),
            Metric(name=uplink.ACK_RANGES, datatype=DataType.UINT64_ARRAY, value=[batch, batch]),
        ]
        octets = encode_payload(Payload(timestamp_ms=1, metrics=metrics))
        client.publish("spBv1.0/harbour/NCMD/gw-test", octets, qos=0)


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[int]:
    binary = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert binary
    port = free_port()
    path = folder / "mosquitto.conf"
    path.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([binary, "-c", str(path)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: accepts(port), "mosquitto listens")
        yield port
    finally:
        process.kill()
        process.wait(5)


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


@contextlib.contextmanager
def agent(folder: Path, mqtt_port: int, modbus_port: int, uplink_bytes_per_s: int) -> Iterator[subprocess.Popen[bytes]]:
    text = CONFIGURATION.format(
        mqtt_port=mqtt_port,
        modbus_port=modbus_port,
        uplink_bytes_per_s=uplink_bytes_per_s,
        set_point=ALARM_STRAIN,
    )
    (folder / "agent.toml").write_text(text)
    command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(folder / "agent.toml")]
    with (folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(5)


def raise_alarm(gauge: Gauge, host: Host) -> float:
    """Lets the gauge leap beyond its set-point, and takes the time until a live reading of it is at the host."""
    began_s = time.monotonic()
    gauge.tenths_hz = LOUD_TENTHS_HZ
    wait_for(lambda: any(at > began_s and value > ALARM_STRAIN for at, value in host.live[-50:]), "the alarm")
    arrived_s = next(at for at, value in host.live if at > began_s and value > ALARM_STRAIN)
    gauge.tenths_hz = QUIET_TENTHS_HZ
    wait_for(lambda: host.live[-1][1] < ALARM_STRAIN, "the return")
    return arrived_s - began_s


@pytest.fixture(scope="module")
def four_hours(tmp_path_factory) -> tuple[Path, int]:
    path = tmp_path_factory.mktemp("four-hours") / "spool.sqlite"
    return path, write_four_hours(path)


def test_after_four_hours_offline_alarms_are_there_within_2_s_while_the_backlog_drains(tmp_path, four_hours):
    written, count = four_hours
    shutil.copy(written, tmp_path / "spool.sqlite")
    with broker(tmp_path) as port, Gauge() as gauge:
        host = Host(port)
        with agent(tmp_path, port, gauge.port, uplink_bytes_per_s=1_000_000):
            wait_for(lambda: host.old_batches and host.live, "backlog and live data")
            began_s, before = time.monotonic(), len(host.old_batches)
            delays = []
            while time.monotonic() - began_s < 10.0:
                delays.append(raise_alarm(gauge, host))
                time.sleep(0.3)
            drained = (len(host.old_batches) - before) / (time.monotonic() - began_s)
        host.stop()
    print(f"alarms: {len(delays)}, slowest {max(delays):.2f} s; backlog {drained * BATCH_READINGS:.0f} readings/s")
    assert len(delays) >= 5
    assert max(delays) < ALARM_WITHIN_S, delays
    assert drained > 10.0, f"{drained:.1f} batches/s: the backlog must drain meanwhile"
    assert len(host.old_batches) < count, "it was still draining"
    assert all(is_historical for _, _, is_historical in host.old_batches)
    assert max(host.identities.values()) == 1, "each batch once: all was acknowledged in time"
    urgent = [batch for _, batch, _ in host.old_batches[: count // 100]]
    assert urgent == list(range(count, 0, -100))[: len(urgent)], "urgent ones first, from the newest back"


def test_on_a_line_slower_than_its_configuration_says_alarms_come_within_2_s_too(tmp_path, four_hours):
    shutil.copy(four_hours[0], tmp_path / "spool.sqlite")
    with broker(tmp_path) as port, Gauge() as gauge, SlowLine(port, bytes_per_s=40_000) as line:
        host = Host(port)
        with agent(tmp_path, line.port, gauge.port, uplink_bytes_per_s=250_000):
            wait_for(lambda: host.old_batches and host.live, "backlog and live data")
            time.sleep(5.0)  # until the agent has found out how slow the line is
            began_s, before = time.monotonic(), len(host.old_batches)
            delays = []
            while time.monotonic() - began_s < 12.0:
                delays.append(raise_alarm(gauge, host))
                time.sleep(0.3)
            drained = (len(host.old_batches) - before) / (time.monotonic() - began_s)
        host.stop()
    print(f"alarms: {len(delays)}, slowest {max(delays):.2f} s; backlog {drained * BATCH_READINGS:.0f} readings/s")
    assert max(delays) < ALARM_WITHIN_S, delays
    assert drained > 1.0, f"{drained:.1f} batches/s: the line is not idle"
