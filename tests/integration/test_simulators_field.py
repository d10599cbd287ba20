"""A running field, read by pymodbus and pyserial over real sockets and pseudo-terminals."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import pytest
import serial
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ModbusException

from simulators.configuration import parse_configuration
from simulators.errors import OrderError, SpoolError
from simulators.field import Field
from simulators.read_instruments import read_instruments
from simulators.serve_control import send_command
from simulators.served_ledger import read_served_ledger
from simulators.spool_ledger import attach_spool_ledger, read_spool_ledger

ROOT = Path(__file__).parents[2]
DEADLINE_S = 10.0
MINUTE_S = 60.0


class RunningField:
    """The example's field in a process of its own."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.control = folder / "run" / "field.sock"
        self.status = send_command(self.control, {"command": "status"})
        self.port = int(str(self.status["addresses"]["gas-tcp"]).rpartition(":")[2])

    def fault(self, kind: str, **more: object) -> None:
        send_command(self.control, {"command": "fault", "order": {"kind": kind, "for_s": MINUTE_S, **more}})

    def clear(self, subject: str) -> None:
        send_command(self.control, {"command": "clear", "subject": subject})

    @contextmanager
    def tcp(self, timeout_s: float = 2.0) -> Iterator[ModbusTcpClient]:
        client = ModbusTcpClient("127.0.0.1", port=self.port, timeout=timeout_s, retries=0)
        assert client.connect()
        yield client
        client.close()

    @contextmanager
    def rtu(self, timeout_s: float = 2.0) -> Iterator[ModbusSerialClient]:
        port = str(self.folder / "run" / "rs485-1")
        client = ModbusSerialClient(port, baudrate=115_200, timeout=timeout_s, retries=0)
        assert client.connect()
        yield client
        client.close()


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Iterator[RunningField]:
    folder = tmp_path_factory.mktemp("field")
    text = (resources.files("simulators") / "example.toml").read_text("utf-8")
    text = text.replace("port = 15501", "port = 0").partition("[[event]]")[0]
    (folder / "field.toml").write_text(text, "utf-8")
    with _running(folder) as process:
        yield RunningField(folder, process)


@contextmanager
def _running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "simulators.cli", "field", "--config", str(folder / "field.toml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
    try:
        _wait_until((folder / "run" / "field.sock").exists, "the control socket did not appear", folder)
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(3.0) == 0, "SIGTERM must end it within 3 s with exit code 0"
    finally:
        process.kill()
        process.wait()


def _wait_until(is_true, complaint: str, folder: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, f"{complaint}: {(folder / 'log').read_text()}"
        time.sleep(0.02)


def _gas(client: ModbusTcpClient) -> float:
    answer = client.read_holding_registers(102, count=2, device_id=1)
    return struct.unpack(">f", struct.pack(">HH", *answer.registers))[0]


def test_pymodbus_reads_over_tcp_what_the_signal_says_is_true(field):
    with field.tcp() as client:
        served = _gas(client)
    line = read_served_ledger(field.folder / "run" / "served.jsonl")[-1]
    assert (line.node_id, line.quantity, line.device_id) == ("gas-example-1", "methane_lel", 1)
    assert struct.unpack(">f", bytes.fromhex(line.raw))[0] == served
    text = (field.folder / "field.toml").read_text("utf-8")
    instruments = read_instruments()
    again = Field(parse_configuration(text, "field.toml", instruments), instruments, field.status["start_ns"])
    assert (
        again.true_value("gas-example-1", "methane_lel", line.time_ns) == line.value == pytest.approx(served, abs=1e-6)
    )


def test_pymodbus_reads_several_devices_on_the_serial_line_and_the_line_survives_reopening(field):
    for _ in range(3):
        with field.rtu() as client:
            gauges = client.read_holding_registers(100, count=20, device_id=1).registers
            low, high = client.read_holding_registers(0x0102, count=2, device_id=11).registers
        assert 8500 < gauges[0] < 9500, "0.1 Hz"
        assert gauges[2:16] == [0] * 14, "no sensors there"
        resistance_ohm = struct.unpack(">f", struct.pack(">HH", high, low))[0]
        assert 10_000 < resistance_ohm < 40_000


def test_a_counter_proves_which_reads_arrived(field):
    with field.rtu() as client:
        first = client.read_holding_registers(101, count=1, device_id=1)
        second = client.read_holding_registers(101, count=1, device_id=1)
    ledger = read_served_ledger(field.folder / "run" / "served.jsonl")
    counted = [line.value for line in ledger if line.node_id == "strain-example-2"]
    assert counted == [float(value) for value in range(len(counted))]
    assert len(counted) >= 2
    assert not first.isError()
    assert not second.isError()


def test_the_co2_sensor_answers_its_published_question(field):
    with serial.Serial(str(field.folder / "run" / "co2-uart"), 9600, timeout=2.0) as port:
        for part in (b"\x00\xff", b"\xff\x01\x86\x00\x00\x00", b"\x00\x00\x79"):
            port.write(part)
        frame = port.read(9)
    assert frame[:2] == b"\xff\x86"
    assert sum(frame[1:]) % 256 == 0, "checksum"
    assert 380 <= frame[2] * 256 + frame[3] <= 960


def test_a_silent_device_leaves_the_client_waiting_and_comes_back(field):
    with field.tcp(timeout_s=0.2) as client:
        field.fault("no_answer", node="gas-example-1")
        with pytest.raises(ModbusException):
            client.read_holding_registers(102, count=2, device_id=1)
    field.clear("gas-example-1")
    with field.tcp() as client:
        assert _gas(client) < 2.0


def test_an_exception_reaches_the_client_with_its_code(field):
    field.fault("modbus_exception", node="gas-example-1", code=4)
    with field.tcp() as client:
        assert client.read_holding_registers(102, count=2, device_id=1).exception_code == 4
        field.clear("gas-example-1")
        assert client.read_holding_registers(102, count=2, device_id=77).exception_code == 0x0B
        assert client.read_holding_registers(0, count=2, device_id=1).exception_code == 2


def test_a_crc_error_is_on_the_wire_and_nowhere_else_in_the_frame(field):
    question = bytes.fromhex("010300640014041a")
    with serial.Serial(str(field.folder / "run" / "rs485-1"), 115_200, timeout=2.0) as port:
        field.fault("crc_error", node="strain-example-1")
        port.write(question)
        damaged = port.read(45)
        field.clear("strain-example-1")
        port.write(question)
        right = port.read(45)
    assert len(damaged) == len(right) == 45
    assert damaged[:3] == right[:3]
    assert _crc(damaged) != 0
    assert _crc(right) == 0


def _crc(frame: bytes) -> int:
    """Bitwise, by the standard's text: 0 over a frame with its right CRC."""
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def test_a_leak_ordered_at_run_time_passes_its_set_point_when_it_was_said_to(field):
    order = {"kind": "gas_leak", "node": "gas-example-1", "peak": 45.0, "rise_s": 1.0, "hold_s": 30.0}
    answer = send_command(field.control, {"command": "happen", "order": order, "set_points": [10.0]})
    crossing_ns = answer["crossings"][0]["crossing_ns"]
    with field.tcp() as client:
        assert _gas(client) < 10.0
        _wait_until(lambda: _gas(client) >= 10.0, "the leak did not come", field.folder)
    field.clear("gas-example-1")
    ledger = read_served_ledger(field.folder / "run" / "served.jsonl")
    gas = [line for line in ledger if line.node_id == "gas-example-1" and line.time_ns > answer["from_ns"]]
    assert all((line.value >= 10.0) == (line.time_ns >= crossing_ns) for line in gas)


def test_a_lost_line_refuses_clients_and_comes_back_where_it_was(field):
    for bus_id in ("gas-tcp", "bridge-rs485"):
        field.fault("line_lost", bus=bus_id)
    port = field.folder / "run" / "rs485-1"
    _wait_until(lambda: not port.is_symlink() and not _is_listening(field.port), "the lines stayed", field.folder)
    for bus_id in ("gas-tcp", "bridge-rs485"):
        field.clear(bus_id)
    _wait_until(lambda: port.is_symlink() and _is_listening(field.port), "the lines did not come back", field.folder)
    with field.tcp() as tcp, field.rtu() as rtu:
        assert _gas(tcp) < 50.0
        assert not rtu.read_holding_registers(100, count=1, device_id=1).isError()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_what_is_not_modbus_costs_its_sender_the_connection_and_nobody_else(field):
    with field.tcp() as client, socket.create_connection(("127.0.0.1", field.port), 2.0) as intruder:
        intruder.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert intruder.recv(100) == b""
        assert _gas(client) < 50.0


def test_bad_orders_are_refused_with_all_reasons_and_change_nothing(field):
    with pytest.raises(OrderError, match="no node 'nobody'"):
        field.fault("no_answer", node="nobody")
    with pytest.raises(OrderError, match="for_s"):
        send_command(field.control, {"command": "fault", "order": {"kind": "no_answer", "node": "gas-example-1"}})
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(2.0)
        raw.connect(str(field.control))
        raw.sendall(b"not json\n" + b'{"request": {"command": "status"}}\n')
        with raw.makefile("rb") as answers:
            assert json.loads(answers.readline())["ok"] is False
            assert json.loads(answers.readline())["active"] == []
    assert field.control.stat().st_mode & 0o077 == 0, "others may write to the control socket"


def test_the_command_line_orders_tells_and_refuses(field):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "simulators.cli", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)

    control = ("--control", str(field.control))
    done = run("fault", *control, "--node", "gas-example-1", "--kind", "warm_up", "--for", "60")
    assert done.returncode == 0, done.stderr
    with field.tcp() as client:
        assert client.read_holding_registers(106, count=1, device_id=1).registers == [2]
    assert run("clear", *control, "gas-example-1").returncode == 0
    assert json.loads(run("status", *control).stdout)["node_count"] == 5
    refused = run("fault", *control, "--node", "co2-example-1", "--kind", "warm_up", "--for", "1")
    assert refused.returncode == 1
    assert "cannot show 'warm_up'" in refused.stderr


def test_check_config_names_every_fault_and_exits_with_2(tmp_path):
    text = (resources.files("simulators") / "example.toml").read_text("utf-8")
    file = tmp_path / "field.toml"
    file.write_text(text.replace("port = 15501", "port = -1").replace("seed = 4", "seed = -4\nspeed = 1"))
    command = [sys.executable, "-m", "simulators.cli", "check-config", "--config", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3, done.stderr
    assert all(line.startswith(f"{file}: $.") for line in done.stderr.splitlines())
    file.write_text(text)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, f"{file}: ok\n")


def test_a_client_that_never_reads_does_not_stop_the_line(field):
    """4 kB of answers that nobody fetches: the rest is lost, as on a wire, and the next client is served."""
    port = os.open(field.folder / "run" / "rs485-1", os.O_RDWR | os.O_NOCTTY)
    fcntl.fcntl(port, fcntl.F_SETFL, os.O_NONBLOCK)
    for _ in range(300):
        os.write(port, bytes.fromhex("010300640014041a"))
        time.sleep(0.001)
    os.close(port)
    with field.rtu() as client:
        assert not client.read_holding_registers(100, count=1, device_id=1).isError()


SPOOL_SCHEMA = """
CREATE TABLE channel(channel_id INTEGER PRIMARY KEY, bus_id TEXT, node_id TEXT, quantity TEXT);
CREATE TABLE batch(batch_id INTEGER PRIMARY KEY, epoch INTEGER, batch INTEGER, bus_id TEXT, body BLOB,
                   thinned_window_s INTEGER DEFAULT 0);
INSERT INTO channel VALUES (7, 'b', 'n', 'level');
"""
INSERT = "INSERT INTO batch(epoch, batch, bus_id, body) VALUES (5, ?, 'b', ?)"
# By hand, from docs/agent-spool.md. One run of two readings at 1000 ns of channel 7: 0.25 good, no value (reason 64).
ONE_BODY = bytes.fromhex(
    "01 01 0100 0200 0000 e803000000000000  00000000 0200  0700 0700  00 40  000000000000d03f 000000000000f87f"
)
# Two runs with wide times and wide channels, all good: 1.0 at 1000 ns and -2.0 at 2**33 + 1000 ns.
WIDE_BODY = bytes.fromhex(
    "01 06 0200 0200 0000 e803000000000000  0000000000000000 0000000002000000 0100 0100"
    "07000000 07000000  000000000000f03f 00000000000000c0"
)


def sealed(batch: int, body: bytes) -> bytes:
    return body + zlib.crc32(struct.pack("<2q", 5, batch) + body).to_bytes(4, "little")


def test_the_spool_ledger_holds_what_was_committed_even_after_the_agent_deleted_it(tmp_path):
    spool = tmp_path / "spool.sqlite"
    agent = sqlite3.connect(spool)
    try:
        agent.execute("PRAGMA journal_mode=WAL")
        agent.executescript(SPOOL_SCHEMA)
        attach_spool_ledger(spool)
        attach_spool_ledger(spool)
        agent.execute(INSERT, (1, sealed(1, ONE_BODY)))
        agent.commit()
        agent.execute(INSERT, (2, sealed(2, ONE_BODY)))
        agent.rollback()
        agent.execute(INSERT, (2, sealed(2, WIDE_BODY)))
        agent.commit()
        agent.execute("DELETE FROM batch")
        agent.commit()
    finally:
        agent.close()
    assert [tuple(row) for row in read_spool_ledger(spool)] == [
        (5, 1, "b", "n", "level", 1000, 0.25, 0),
        (5, 1, "b", "n", "level", 1000, None, 64),
        (5, 2, "b", "n", "level", 1000, 1.0, 0),
        (5, 2, "b", "n", "level", 2**33 + 1000, -2.0, 0),
    ]


def test_the_spool_ledger_refuses_a_batch_under_another_ones_number(tmp_path):
    spool = tmp_path / "spool.sqlite"
    with contextlib.closing(sqlite3.connect(spool)) as agent:
        agent.executescript(SPOOL_SCHEMA)
        attach_spool_ledger(spool)
        agent.execute(INSERT, (1, sealed(2, ONE_BODY)))
        agent.commit()
    with pytest.raises(SpoolError, match="5/1: wrong checksum"):
        read_spool_ledger(spool)


def test_the_spool_ledger_refuses_what_is_no_spool_and_makes_no_file(tmp_path):
    absent = tmp_path / "absent.sqlite"
    with pytest.raises(SpoolError):
        attach_spool_ledger(absent)
    assert not absent.exists()
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    with pytest.raises(SpoolError, match="no table `batch`"):
        attach_spool_ledger(tmp_path / "empty.sqlite", wait_s=0.1)
    (tmp_path / "text").write_text("this is not a database, it is a text of more than a hundred bytes" * 3)
    with pytest.raises(SpoolError):
        read_spool_ledger(tmp_path / "text")


def test_write_demo_writes_what_the_field_accepts_and_refuses_a_password_without_a_path(tmp_path):
    command = [sys.executable, "-m", "simulators.cli"]
    options = ["--out", str(tmp_path), "--broker-port", "1999", "--password-file"]
    done = subprocess.run(
        [*command, "write-demo", *options, "gw-harbour=secret"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "field.toml",
        "fleet.toml",
        "gw-harbour.toml",
        "gw-riverside.toml",
    ]
    assert "port = 1999" in (tmp_path / "gw-harbour.toml").read_text()
    check = [*command, "check-config", "--config", str(tmp_path / "field.toml")]
    assert subprocess.run(check, cwd=ROOT, capture_output=True, timeout=30).returncode == 0
    done = subprocess.run(
        [*command, "write-demo", *options, "gw-harbour"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert "not GATEWAY=PATH" in done.stderr
