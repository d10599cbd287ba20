"""Local outputs, commanded writes, the audit log and rereading, with the whole agent and a Modbus server of sockets."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contracts.sparkplug import sparkplug_b_pb2 as wire
from tests.conformance.conftest import _running_mosquitto, wait_until
from tests.edge_configuration import actuator, gateway, modbus_bus, strain_node
from tests.modbus_field import ModbusField, RtuField
from tests.mqtt_probe import free_port

ROOT = Path(__file__).parents[2]
CALM, HIGH = 9_000, 10_000
"""Tenths of a hertz: a strain of 0 and of 772 µε by the gauge's formula."""
DCMD = "spBv1.0/harbour/DCMD/gw-1/rs485"
NCMD = "spBv1.0/harbour/NCMD/gw-1"

CONFIGURATION = "".join(
    (
        gateway(mqtt="keepalive_s = 2"),
        '[audit]\npath = "log/audit.jsonl"\n',
        modbus_bus(timeout_s=0.3),
        strain_node(poll_interval_s=0.1),
        actuator("horn", 7),
        actuator("speed", 200, function_code=16, data_type="f32", maximum=50.0),
        "{outputs}\n",
    )
)
SIREN = """
[[output]]
output_id = "siren"
[[output.condition]]
node_id = "strain-1"
quantity = "strain"
set_point = 500.0
deadband = 50.0
[output.on]
kind = "write"
node_id = "strain-1"
actuator = "horn"
value = 1.0
[output.off]
kind = "write"
node_id = "strain-1"
actuator = "horn"
value = 0.0
[[output]]
output_id = "note"
[[output.condition]]
node_id = "strain-1"
quantity = "strain"
set_point = 500.0
[output.on]
kind = "command"
argv = ["touch", "alarm with a space; rm x"]
"""


@dataclass
class Bench:
    folder: Path
    field: ModbusField
    mqtt_port: int
    process: subprocess.Popen[bytes] | None = None

    def configure(self, outputs: str = "", **replaced: str) -> None:
        text = CONFIGURATION.format(mqtt_port=self.mqtt_port, modbus_port=self.field.port, outputs=outputs)
        for old, new in replaced.items():
            text = text.replace(old, new)
        (self.folder / "agent.toml").write_text(text)

    def start(self) -> None:
        command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(self.folder / "agent.toml")]
        with (self.folder / "log.txt").open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)

    def set_strain(self, tenths_hz: int) -> None:
        self.field.registers.update(dict.fromkeys(range(100, 116), tenths_hz))

    def audited(self) -> list[dict[str, object]]:
        path = self.folder / "log/audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def log(self) -> str:
        assert self.process is not None
        text = (self.folder / "log.txt").read_text()
        assert self.process.poll() is None, text
        return text


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, ModbusField(free_port()), free_port())
    made.set_strain(CALM)
    made.field.start()
    try:
        yield made
    finally:
        if made.process is not None:
            made.process.send_signal(signal.SIGTERM)
            made.process.wait(10)
        with contextlib.suppress(OSError):
            made.field.stop()


def test_a_local_output_switches_with_no_broker_and_no_network_and_each_switch_is_audited(bench):
    bench.configure(SIREN)
    bench.start()
    wait_until("after the start the horn is told to be off", lambda: bench.log() and bench.field.coils.get(7) == 0)
    assert not (bench.folder / "alarm with a space; rm x").exists()
    bench.set_strain(HIGH)
    wait_until("the horn", lambda: bench.log() and bench.field.coils[7] == 1)
    wait_until("the command", (bench.folder / "alarm with a space; rm x").exists)
    bench.set_strain(CALM)
    wait_until("the horn is off", lambda: bench.field.coils[7] == 0)
    wait_until("the last audit line", lambda: len(bench.audited()) >= 6)
    assert {write[:3] for write in bench.field.written} == {(1, 5, 7)}
    lines = [(line["what"], line["who"], line["target"], line["outcome"]) for line in bench.audited()]
    assert [line for line in lines if "siren" in line[2]] == [
        ("output", "local", "siren off", "done"),
        ("output", "local", "siren on", "done"),
        ("output", "local", "siren off", "done"),
    ]
    assert ("output", "local", "note on", "done") in lines
    raised = next(line for line in bench.audited() if line["target"] == "siren on")
    assert raised["value"] == "strain-1/horn = 1"
    assert "strain-1/strain was 771" in raised["why"]
    assert raised["time"].endswith("Z")
    assert "mqtt_connected" not in bench.log()


def test_a_local_output_switches_on_a_serial_line(bench):
    line = RtuField(0)
    line.registers.update(dict.fromkeys(range(100, 116), CALM))
    line.start()
    bench.configure(SIREN)
    path = bench.folder / "agent.toml"
    tcp = f'kind = "modbus_tcp"\nhost = "127.0.0.1"\nport = {bench.field.port}'
    assert tcp in path.read_text()
    path.write_text(path.read_text().replace(tcp, f'kind = "modbus_rtu"\nport = "{line.path}"'))
    try:
        bench.start()
        wait_until("after the start the horn is told to be off", lambda: bench.log() and line.coils.get(7) == 0)
        line.registers.update(dict.fromkeys(range(100, 116), HIGH))
        wait_until("the horn", lambda: bench.log() and line.coils[7] == 1)
    finally:
        line.stop()


def test_an_output_that_cannot_be_switched_is_tried_until_it_can(bench):
    bench.field.refuses_writes = True
    bench.configure(SIREN)
    bench.set_strain(HIGH)
    bench.start()
    wait_until("a failure is audited", lambda: any("failed" in str(line["outcome"]) for line in bench.audited()))
    assert 7 not in bench.field.coils
    bench.field.refuses_writes = False
    wait_until("the horn", lambda: bench.log() and bench.field.coils.get(7) == 1)
    wait_until("both are audited", lambda: len([one for one in bench.audited() if one["target"] == "siren on"]) == 2)
    failed, done = [one["outcome"] for one in bench.audited() if one["target"] == "siren on"]
    assert failed.startswith("failed: modbus_illegal_address")
    assert done == "done"


@dataclass
class Host:
    client: mqtt.Client
    seen: list[tuple[str, wire.Payload]] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[wire.Payload]:
        return [payload for topic, payload in list(self.seen) if f"/{kind}/" in topic]

    def answers(self) -> list[str]:
        named = [metric for payload in self.of_kind("NDATA") for metric in payload.metrics]
        return [metric.string_value for metric in named if metric.name == "Node Control/Answer"]

    def command(self, topic: str, **values: object) -> None:
        payload = wire.Payload(timestamp=1)
        for name, value in values.items():
            is_bool = isinstance(value, bool)
            content = {"datatype": 11, "boolean_value": value} if is_bool else {"datatype": 10, "double_value": value}
            payload.metrics.add(name=name, **content)
        self.client.publish(topic, payload.SerializeToString(), qos=0).wait_for_publish(5)


@contextlib.contextmanager
def host(port: int) -> Iterator[Host]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    made, subscribed = Host(client), threading.Event()
    client.on_connect = lambda *_: client.subscribe("spBv1.0/#", qos=1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _client, _user, one: made.seen.append(
        (one.topic, wire.Payload.FromString(one.payload) if "CMD" not in one.topic else wire.Payload())
    )
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert subscribed.wait(10)
    try:
        yield made
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def uplink(bench: Bench) -> Iterator[Host]:
    """A broker and a host for the bench."""
    (bench.folder / "broker").mkdir()
    with _running_mosquitto(bench.folder / "broker") as port:
        bench.mqtt_port = port
        with host(port) as watching:
            yield watching


@pytest.mark.needs_mosquitto
def test_a_host_writes_declared_actuators_within_their_limits_and_nothing_else(bench, uplink):
    bench.configure()
    bench.start()
    wait_until("data", lambda: bench.log() and uplink.of_kind("DDATA"))
    births = {metric.name: metric for metric in uplink.of_kind("DBIRTH")[0].metrics}
    assert births["strain-1/horn"].is_null
    assert births["strain-1/horn"].datatype == 10
    for name, value in (
        ("strain-1/horn", True),
        ("strain-1/speed", 12.5),
        ("strain-1/speed", 50.5),
        ("strain-1/horn", 0.5),
        ("strain-1/strain", 1.0),
        ("strain-1/speed", float("nan")),
    ):
        uplink.command(DCMD, **{name: value})
    uplink.command(DCMD.replace("rs485", "elsewhere"), **{"strain-1/horn": 0.0})
    uplink.client.publish(DCMD, b"\xff garbage").wait_for_publish(5)
    wait_until("all are answered", lambda: len(uplink.answers()) == 6)
    speed = (1, 16, 200, (0x4148, 0x0000))  # 12.5 as float32, high word first
    assert bench.field.written == [(1, 5, 7, (1,)), speed]
    outcomes = [answer.partition(": ")[2] for answer in uplink.answers()]
    assert outcomes[:2] == ["done", "done"]
    assert "50.5 is not within 0 to 50" in outcomes[2]
    assert "a coil is 0 or 1" in outcomes[3]
    assert all("no actuator of that name" in outcome for outcome in outcomes[4:])
    told = [(m.name, m.double_value) for p in uplink.of_kind("DDATA") for m in p.metrics if m.name.startswith("strain")]
    assert told == [("strain-1/horn", 1.0), ("strain-1/speed", 12.5)]
    lines = [(line["target"], line["value"], line["outcome"]) for line in bench.audited()]
    assert lines[:4] == [
        ("strain-1/horn", 1.0, "asked"),
        ("strain-1/horn", 1.0, "done"),
        ("strain-1/speed", 12.5, "asked"),
        ("strain-1/speed", 12.5, "done"),
    ]
    assert [line[2].split(":")[0] for line in lines[4:]] == ["refused"] * 4
    assert bench.log().count("command_rejected") == 2, "not-a-number and garbage are no writes at all"


@pytest.mark.needs_mosquitto
def test_without_an_audit_line_there_is_no_commanded_write(bench, uplink):
    bench.configure()
    (bench.folder / "log").write_text("a file where the folder should be")
    bench.start()
    wait_until("data", lambda: bench.log() and uplink.of_kind("DDATA"))
    uplink.command(DCMD, **{"strain-1/horn": True})
    wait_until("the answer", uplink.answers)
    assert "the audit log cannot be written" in uplink.answers()[0]
    assert bench.field.written == []


@pytest.mark.needs_mosquitto
def test_a_host_has_the_configuration_reread_and_a_file_with_a_fault_changes_nothing(bench, uplink):
    reread = {"Node Control/Reread Configuration": True}
    patient = {"flush_interval_s = 0.1": "flush_interval_s = 0.1\nresend_after_s = 600.0"}  # old batches stay away
    bench.configure(**patient)
    bench.start()
    wait_until("data", lambda: bench.log() and uplink.of_kind("DDATA"))
    uplink.command(NCMD, **reread)
    wait_until("an answer", lambda: uplink.answers() == ["configuration: unchanged"])
    bench.configure(**patient, **{"poll_interval_s = 0.1": "poll_interval_s = -1", 'actuator"': "x"})
    uplink.command(NCMD, **reread)
    wait_until("a refusal", lambda: len(uplink.answers()) == 2)
    assert uplink.answers()[1].startswith("configuration: refused, 1 faults: $.bus[0].node[0].poll_interval_s: -1")
    assert "configuration_fault" in bench.log()
    count = len(uplink.of_kind("DDATA"))
    wait_until("the old configuration runs on", lambda: len(uplink.of_kind("DDATA")) > count + 2)
    assert len(uplink.of_kind("NBIRTH")) == 1
    bench.configure(**patient, **{'"strain-1"': '"strain-new"'})
    uplink.command(NCMD, **reread)
    wait_until("its bus", lambda: len(uplink.of_kind("DBIRTH")) >= 2)
    assert len(uplink.of_kind("DDEATH")) == 1, "its channels have ended"
    born = {metric.name for metric in uplink.of_kind("DBIRTH")[-1].metrics}
    assert "strain-new/strain" in born
    assert "strain-1/strain" not in born
    wait_until("the answer", lambda: len(uplink.answers()) == 3)
    assert uplink.answers()[2].startswith("configuration: applied: 1 changed")
    bench.configure(**patient, **{"keepalive_s = 2": "keepalive_s = 3"})
    uplink.command(NCMD, **reread)
    wait_until("a new birth: the table [mqtt] needs a restart", lambda: len(uplink.of_kind("NBIRTH")) == 2)
    answer = next(m for m in uplink.of_kind("NBIRTH")[1].metrics if m.name == "Node Control/Answer")
    assert answer.string_value == "configuration: applied"
    outcomes = [line["outcome"].split(",")[0].split(":")[0] for line in bench.audited()]
    assert outcomes == ["unchanged", "refused", "applied", "accepted"]
    assert bench.process.poll() is None, "the process is the same"
