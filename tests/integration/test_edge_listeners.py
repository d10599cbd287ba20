"""The whole agent as a process; simulated stations call it over TCP and over a serial line, mosquitto stands behind it.

The spool's ordinary flush comes only every 60 s here: what is confirmed sooner was committed for its own sake.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contracts.configuration import check_settings
from contracts.sparkplug.payload import Metric, decode_payload
from edge_agent.channel_table import ChannelTable, Reading
from edge_agent.drivers import LISTENERS
from edge_agent.errors import LineLostError
from edge_agent.lines.build_endpoint import build_endpoint
from edge_agent.lines.listen_bus import BusListener, Line
from edge_agent.lines.listen_configuration import SerialEndpointSettings, TcpEndpointSettings
from edge_agent.plan_agent import plan_listening_line
from edge_agent.settings.configuration import AgentSettings
from simulators.gb26875_frame import make_component_state, make_transmitter_state
from simulators.gb26875_transmitter import FireTransmitter
from simulators.hj212_station import Hj212Station
from tests.mqtt_probe import accepts, free_port

pytestmark = pytest.mark.needs_mosquitto

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "edge_agent.cli"]
CHINA = timezone(timedelta(hours=8))
DEADLINE_S = 30.0
PANEL = 3456

CONFIGURATION = """
[gateway]
gateway_id = "gw-listen"
district_id = "harbour"
[mqtt]
port = {mqtt_port}
[spool]
path = "spool.sqlite"
flush_interval_s = 60.0
resend_after_s = 3600.0

[[bus]]
bus_id = "stations"
kind = "hj212"
endpoint = {{ kind = "tcp", port = {hj212_port}, connections_max = 3, idle_s = 3.0, frame_pause_s = 0.3 }}
[[bus.node]]
node_id = "outfall-1"
mn = "STATION1"
password = "123456"
factors = ["w01018", "w01001"]
[[bus.node]]
node_id = "outfall-1-hours"
mn = "STATION1"
password = "123456"
period = "hour"
factors = ["w01018"]
[[bus.node]]
node_id = "outfall-2"
mn = "STATION2"
password = "222222"
factors = ["w01018"]

[[bus]]
bus_id = "station-line"
kind = "hj212"
endpoint = {{ kind = "serial", port = "{tty}", baud_rate = 9600, frame_pause_s = 0.3 }}
[[bus.node]]
node_id = "air-1"
mn = "AIR1"
password = "123456"
factors = ["a34004", "a21026"]

[[bus]]
bus_id = "fire"
kind = "gb26875_3"
endpoint = {{ kind = "tcp", port = {fire_port}, frame_pause_s = 0.3 }}
[[bus.node]]
node_id = "panel"
transmitter = {panel}
channels = ["fire_alarm", "mains_failure"]
[[bus.node]]
node_id = "smoke-17"
transmitter = {panel}
system_type = 1
system_address = 3
component_address = 17
"""


def wait_until(what: str, check: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not check():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.05)


@dataclass
class Host:
    """Notes every metric that the agent publishes."""

    names: dict[int, str] = field(default_factory=dict)
    births: dict[str, list[str]] = field(default_factory=dict)
    values: list[tuple[str, Metric, float]] = field(default_factory=list)
    """Channel, metric, and when it came."""

    def take(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        kind, *rest = message.topic.split("/")[2:]
        if kind not in {"DBIRTH", "DDATA"}:
            return
        metrics = decode_payload(message.payload).metrics
        if kind == "DBIRTH":
            self.births[rest[1]] = [str(one.name) for one in metrics if one.alias is not None]
            self.names |= {one.alias: str(one.name) for one in metrics if one.alias is not None}
            return
        for one in metrics:
            if one.alias in self.names:
                self.values.append((self.names[one.alias], one, time.monotonic()))

    def of(self, channel: str) -> list[Metric]:
        return [metric for name, metric, _ in self.values if name == channel]

    def reason(self, metric: Metric) -> object:
        return None if "Reason" not in metric.properties else metric.properties["Reason"].value


@dataclass
class Agent:
    """A running agent, its host, and where it listens."""

    host: Host
    hj212_port: int
    fire_port: int
    line: int
    """The station's end of the serial line."""
    log_path: Path

    def log(self) -> str:
        return self.log_path.read_text()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    folder = tmp_path_factory.mktemp("agent")
    ports = {"mqtt_port": free_port(), "hj212_port": free_port(), "fire_port": free_port()}
    line, far_end = os.openpty()
    tty.setraw(line)
    tty.setraw(far_end)
    path = folder / "agent.toml"
    path.write_text(CONFIGURATION.format(tty=os.ttyname(far_end), panel=PANEL, **ports))
    host = Host()
    with contextlib.ExitStack() as running:
        running.callback(os.close, line)
        running.callback(os.close, far_end)
        running.enter_context(broker(folder, ports["mqtt_port"]))
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        client.on_message = host.take
        client.connect("127.0.0.1", ports["mqtt_port"])
        client.subscribe("spBv1.0/#")
        client.loop_start()
        running.callback(client.loop_stop)
        log = running.enter_context((folder / "agent.log").open("w"))
        process = subprocess.Popen([*COMMAND, "run", "--config", str(path)], cwd=ROOT, stderr=log)
        running.callback(end, process)
        wait_until("births of all buses", lambda: {"stations", "station-line", "fire"} <= host.births.keys())
        wait_until("ports", lambda: accepts(ports["hj212_port"]) and accepts(ports["fire_port"]))
        yield Agent(host, ports["hj212_port"], ports["fire_port"], line, folder / "agent.log")


@contextlib.contextmanager
def broker(folder: Path, port: int) -> Iterator[None]:
    binary = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert binary
    path = folder / "mosquitto.conf"
    path.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([binary, "-c", str(path)], stderr=subprocess.DEVNULL)
    try:
        wait_until("mosquitto listens", lambda: accepts(port))
        yield
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


def call(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), DEADLINE_S)


def talk(
    descriptor: int, receive: Callable[[bytes], bytes], tick: Callable[[float], bytes], until: Callable[[], object]
) -> None:
    """Carries bytes between a simulated station and the agent, until something is so."""
    deadline = time.monotonic() + DEADLINE_S
    while not until():
        assert time.monotonic() < deadline, "the agent did not answer in time"
        readable, _, _ = select.select([descriptor], [], [], 0.02)
        octets = os.read(descriptor, 4096) if readable else b""
        os.write(descriptor, receive(octets) + tick(time.monotonic()))


def converse(line: socket.socket, transmitter: FireTransmitter, until: Callable[[], object]) -> None:
    talk(line.fileno(), lambda octets: transmitter.receive(octets, 0.0), transmitter.tick, until)


def now_text() -> str:
    return datetime.now(CHINA).strftime("%Y%m%d%H%M%S")


def number() -> str:
    time.sleep(0.001)
    return datetime.now(CHINA).strftime("%Y%m%d%H%M%S%f")[:17]


def clock() -> str:
    return datetime.now(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def report(station: Hj212Station, value: str, data_time: str = "", **more: object) -> bytes:
    groups = [{"DataTime": data_time or now_text()}, {"w01018-Rtd": value, "w01018-Flag": "N"}]
    return station.report(number(), "2011", groups, time.monotonic(), **more)


def test_the_configured_channels_are_born(agent: Agent):
    assert agent.host.births["stations"] == [
        "outfall-1/chemical_oxygen_demand",
        "outfall-1/ph",
        "outfall-1-hours/chemical_oxygen_demand",
        "outfall-2/chemical_oxygen_demand",
    ]
    assert agent.host.births["station-line"] == ["air-1/pm2_5", "air-1/sulfur_dioxide"]
    assert agent.host.births["fire"] == ["panel/fire_alarm", "panel/mains_failure", "smoke-17/fire_alarm"]


def test_a_fire_alarm_leaves_at_once_and_is_confirmed(agent: Agent):
    transmitter = FireTransmitter(PANEL, clock(), answers={81: make_transmitter_state(1, clock())})
    with call(agent.fire_port) as line:
        begun_s = time.monotonic()
        smoke = make_component_state((1, 3), 40, 17, 3, "３层走廊", clock())
        line.sendall(transmitter.send(smoke, begun_s))
        converse(line, transmitter, lambda: transmitter.confirmed)
        wait_until("the alarm at the host", lambda: agent.host.of("smoke-17/fire_alarm"))
        came_s = agent.host.values[-1][2] - begun_s
        converse(line, transmitter, lambda: len(transmitter.heard) >= 2)
    (alarm,) = agent.host.of("smoke-17/fire_alarm")
    assert (alarm.value, alarm.is_historical, agent.host.reason(alarm)) == (1.0, False, None)
    assert came_s < 10.0, "GB 26875.1: an alarm reaches the centre within 10 s; the flush comes after 60 s"
    assert [frame.data[0] for frame in transmitter.heard][:2] == [90, 81], "its clock is set, its state is asked for"
    assert "fire_alarm" in agent.log()


def test_a_frame_cut_by_a_lost_connection_is_sent_again_on_the_next_and_arrives_once(agent: Agent):
    transmitter = FireTransmitter(PANEL, clock())
    unit = make_component_state((1, 9), 23, 900, 3, "按钮", clock())
    frame = transmitter.send(unit, time.monotonic())
    with call(agent.fire_port) as line:
        line.sendall(frame[:40])
    with call(agent.fire_port) as line:
        line.sendall(frame + frame)
        converse(line, transmitter, lambda: transmitter.confirmed)
    wait_until("the panel's alarm", lambda: [one for one in agent.host.of("panel/fire_alarm") if one.value == 1.0])
    assert len([one for one in agent.host.of("panel/fire_alarm") if one.value == 1.0]) == 1
    wait_until("a note of the cut frame", lambda: "truncated: ends after 40 bytes" in agent.log())


def test_a_report_is_answered_when_it_is_durable_and_hours_are_historical(agent: Agent):
    station = Hj212Station("STATION1", "123456")
    with call(agent.hj212_port) as line:
        line.sendall(report(station, "12.5"))
        talk(line.fileno(), station.receive, station.tick, lambda: len(station.answered) == 1)
        groups = [{"DataTime": "20260101000000"}, {"w01018-Avg": "33.5", "w01018-Flag": "M"}]
        line.sendall(station.report(number(), "2061", groups, time.monotonic()))
        talk(line.fileno(), station.receive, station.tick, lambda: len(station.answered) == 2)
    wait_until("both values", lambda: agent.host.of("outfall-1-hours/chemical_oxygen_demand"))
    (live,) = agent.host.of("outfall-1/chemical_oxygen_demand")
    (hour,) = agent.host.of("outfall-1-hours/chemical_oxygen_demand")
    assert (live.value, live.is_historical) == (12.5, False)
    assert (hour.value, hour.is_historical, agent.host.reason(hour)) == (33.5, True, "inhibited")
    assert hour.timestamp_ms == datetime(2026, 1, 1, tzinfo=CHINA).timestamp() * 1000


def test_faults_of_one_station_harm_nobody(agent: Agent):
    good, liar, stranger = Hj212Station("STATION2", "222222"), Hj212Station("STATION1", "wrong"), Hj212Station("X", "1")
    with call(agent.hj212_port) as line, call(agent.hj212_port) as bad_line:
        bad_line.sendall(b"\xff##99" + report(liar, "1") + report(stranger, "2") + b"GET / HTTP/1.1\r\n\r\n")
        line.sendall(report(good, "7.5", is_check_wrong=True))
        talk(line.fileno(), good.receive, good.tick, lambda: good.answered)
        line.sendall(report(good, "8.5", data_time="19700101000000"))
        talk(line.fileno(), good.receive, good.tick, lambda: len(good.answered) == 2)
        bad_line.settimeout(0.2)
        with pytest.raises(TimeoutError):
            bad_line.recv(100)
    wait_until("both values", lambda: len(agent.host.of("outfall-2/chemical_oxygen_demand")) == 2)
    first, second = agent.host.of("outfall-2/chemical_oxygen_demand")
    assert (first.value, agent.host.reason(first)) == (7.5, None)
    assert (second.value, agent.host.reason(second)) == (8.5, "clock_suspect")
    assert abs(second.timestamp_ms / 1000 - time.time()) < 30
    for event in ("wrong_password", "unknown_station", "frame_rejected"):
        assert event in agent.log()


def test_connections_are_bounded_and_silent_ones_are_closed(agent: Agent):
    time.sleep(0.2)
    with contextlib.ExitStack() as held:
        lines = [held.enter_context(call(agent.hj212_port)) for _ in range(5)]
        lines[0].sendall(b"##0")
        wait_until("a refusal", lambda: "connection_refused" in agent.log())
        for line in lines:
            line.settimeout(DEADLINE_S)
            with contextlib.suppress(ConnectionResetError):
                assert line.recv(10) == b"", "closed by the agent"
    assert "no frame for 3 s" in agent.log()
    station = Hj212Station("STATION1", "123456")
    with call(agent.hj212_port) as line:
        line.sendall(report(station, "13.5"))
        talk(line.fileno(), station.receive, station.tick, lambda: station.answered)


def test_a_station_on_a_serial_line_is_heard_byte_by_byte_and_through_noise(agent: Agent):
    station = Hj212Station("AIR1", "123456", system="22")
    groups = [{"DataTime": now_text()}, {"a34004-Rtd": "4", "a34004-Flag": "N"}, {"a21026-Rtd": "22.25"}]
    frame = station.report(number(), "2011", groups, time.monotonic() + 5.0)
    for octet in b"\x00noise##12" + frame:
        os.write(agent.line, bytes([octet]))
    talk(agent.line, station.receive, station.tick, lambda: station.answered)
    wait_until("both values", lambda: agent.host.of("air-1/sulfur_dioxide"))
    assert [one.value for one in agent.host.of("air-1/pm2_5")] == [4.0]
    assert [one.value for one in agent.host.of("air-1/sulfur_dioxide")] == [22.25]


def test_an_alarm_that_was_confirmed_is_in_the_spool_though_the_agent_is_killed_at_once(tmp_path: Path):
    path, fire_port = tmp_path / "agent.toml", free_port()
    text = CONFIGURATION.format(mqtt_port=free_port(), hj212_port=1, fire_port=fire_port, tty="none", panel=PANEL)
    gateway, *_, fire = text.split("[[bus]]")
    path.write_text(f"{gateway}[[bus]]{fire}")
    transmitter = FireTransmitter(PANEL, clock())
    process = subprocess.Popen([*COMMAND, "run", "--config", str(path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_until("the port", lambda: accepts(fire_port))
        with call(fire_port) as line:
            line.sendall(transmitter.send(make_component_state((1, 3), 40, 17, 3, "走廊", clock()), time.monotonic()))
            converse(line, transmitter, lambda: transmitter.confirmed)
    finally:
        process.kill()
        process.wait(10)
    told = subprocess.run(
        [*COMMAND, "spool", "status", "--config", str(path)], cwd=ROOT, capture_output=True, text=True
    )
    status = re.search(r"(\d+) readings in (\d+) batch", told.stdout)
    assert status, told.stdout + told.stderr
    assert int(status[1]) == 1, "the alarm, and nothing else was told"


class Disk:
    """A sink whose disk refuses at first."""

    def __init__(self) -> None:
        self.refusals = 1
        self.readings: list[Reading] = []

    def put(self, _bus_id: str, readings: list[Reading]) -> None:
        self.readings += readings

    put_history = put

    async def store(self) -> bool:
        self.refusals -= 1
        return self.refusals < 0

    def line_changed(self, _bus_id: str, is_up: bool) -> None:
        """Nobody asks here."""


def test_nothing_is_confirmed_that_the_disk_refused_and_the_next_try_is():
    settings = AgentSettings.model_validate(
        tomllib.loads(CONFIGURATION.format(mqtt_port=1, hj212_port=1, fire_port=free_port(), tty="x", panel=PANEL))
    )
    plan = plan_listening_line(settings.bus[-1], Path("/"))
    port, endpoint = plan.bus.endpoint, build_endpoint(plan, ChannelTable())
    transmitter, disk = FireTransmitter(PANEL, clock(), timeout_s=0.3), Disk()

    async def scenario() -> None:
        listening = asyncio.create_task(BusListener(plan.bus_id, LISTENERS[port.kind](port), endpoint, disk).run())
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        writer.write(transmitter.send(make_component_state((1, 3), 40, 17, 3, "走廊", clock()), time.monotonic()))
        async with asyncio.timeout(DEADLINE_S):
            while not transmitter.confirmed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        writer.write(transmitter.receive(await reader.read(4096), 0.0))
                writer.write(transmitter.tick(time.monotonic()))
        writer.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    asyncio.run(scenario())
    assert disk.refusals < 0, "the first try was refused"
    assert [value for _, _, value, _ in disk.readings] == [1.0], "delivered once, confirmed when it was durable"


def test_a_port_that_is_taken_is_a_lost_line_and_is_found_when_it_is_free():
    document = {"kind": "tcp", "port": free_port()}
    listener = LISTENERS["tcp"](check_settings(TcpEndpointSettings, document, "test"))

    async def scenario() -> None:
        opened = asyncio.Event()
        held = socket.create_server(("127.0.0.1", document["port"]))
        with held, pytest.raises(LineLostError, match="cannot be listened at"):
            await listener.serve(lambda line: asyncio.sleep(0), opened.set)
        serving = asyncio.create_task(listener.serve(lambda line: asyncio.sleep(0), opened.set))
        async with asyncio.timeout(DEADLINE_S):
            await opened.wait()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(scenario())


def test_a_serial_port_that_goes_away_is_a_lost_line():
    master, slave = os.openpty()
    listener = LISTENERS["serial"](SerialEndpointSettings(kind="serial", port=os.ttyname(slave)))

    async def read_on(line: Line) -> None:
        while await line.read():
            pass

    async def scenario() -> None:
        opened = asyncio.Event()
        serving = asyncio.create_task(listener.serve(read_on, opened.set))
        await opened.wait()
        os.close(slave)
        os.close(master)
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(LineLostError, match="the port is gone"):
                await serving

    asyncio.run(scenario())
    with pytest.raises(LineLostError):
        asyncio.run(listener.serve(read_on, lambda: None))
