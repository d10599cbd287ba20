"""Modbus acquisition on real sockets and pseudo-terminals: every framing and function code, slow and dead devices.

The servers are pymodbus' own, or (where a device must misbehave) a few lines over the simulators' frames, which share
no code with the agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import socket
import struct
import sys
import time
import tty
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from contracts.configuration import check_settings
from contracts.quality import Reason
from edge_agent.channel_table import ChannelTable
from edge_agent.drivers import DRIVERS
from edge_agent.lines.build_poller import build_line, build_poller
from edge_agent.lines.device_poll import ModbusRequest
from edge_agent.modbus.modbus_write import ModbusWrite
from edge_agent.modbus.register_limits import LimitMemory
from edge_agent.plan_agent import plan_polled_line
from edge_agent.settings.configuration import ModbusRtuBusSettings, ModbusTcpBusSettings
from edge_agent.settings.profile import ModbusProfile
from simulators.modbus_frame import Request, compute_crc, split_rtu

COUNTER = ModbusProfile.model_validate(
    {
        "protocol": "modbus",
        "title": "a register that holds its address",
        "source": "made up for this test",
        "channel": [{"quantity": "pressure", "address": 0, "type": "u16"}],
        "repeat": [{"base": 0, "first": 0, "last": 999}],
    }
)


def nodes(device_ids, places=(0,), **settings) -> list[dict]:
    return [
        {"node_id": f"n{device}-{place}", "profile": "counter", "device_id": device, "channel_index": place, **settings}
        for device in device_ids
        for place in places
    ]


def tcp_bus(port: int, framing: str, device_ids=(1,), **settings) -> ModbusTcpBusSettings:
    node = nodes(device_ids, **settings.pop("node", {}))
    return check_settings(
        ModbusTcpBusSettings,
        {"bus_id": "b", "kind": "modbus_tcp", "host": "127.0.0.1", "port": port, "timeout_s": 0.2, "framing": framing}
        | settings
        | {"node": node},
        "test",
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def table() -> SimDevice:
    def block(kind: DataType, values: list) -> list[SimData]:
        return [SimData(0, values=values, datatype=kind)]

    bits = [at % 3 == 0 for at in range(64)]
    return SimDevice(
        1,
        simdata=(
            block(DataType.BITS, bits),
            block(DataType.BITS, bits),
            block(DataType.REGISTERS, list(range(1000, 1100))),
            block(DataType.REGISTERS, list(range(2000, 2100))),
        ),
    )


@asynccontextmanager
async def pseudo_terminals() -> AsyncIterator[tuple[str, str]]:
    """Two ends of a cable."""
    near, near_slave = os.openpty()
    far, far_slave = os.openpty()
    for end in (near, far, near_slave, far_slave):
        tty.setraw(end)
    loop = asyncio.get_running_loop()
    loop.add_reader(near, lambda: os.write(far, os.read(near, 1024)))
    loop.add_reader(far, lambda: os.write(near, os.read(far, 1024)))
    try:
        yield os.ttyname(near_slave), os.ttyname(far_slave)
    finally:
        for end in (near, far):
            loop.remove_reader(end)
        for end in (near, far, near_slave, far_slave):
            os.close(end)


@asynccontextmanager
async def line(kind: str, framing: str) -> AsyncIterator[object]:
    """A driver on a line with pymodbus' own server at its other end."""
    async with contextlib.AsyncExitStack() as stack:
        if kind == "modbus_tcp":
            port = free_port()
            framer = FramerType.SOCKET if framing == "tcp" else FramerType(framing)
            server = ModbusTcpServer([table()], framer=framer, address=("127.0.0.1", port))
            bus = tcp_bus(port, framing)
        else:
            near, far = await stack.enter_async_context(pseudo_terminals())
            server = ModbusSerialServer([table()], framer=FramerType(framing), port=far, baudrate=115200)
            bus = check_settings(
                ModbusRtuBusSettings,
                {
                    "bus_id": "b",
                    "kind": kind,
                    "port": near,
                    "baud_rate": 115200,
                    "framing": framing,
                    "node": nodes([1]),
                },
                "test",
            )
        await server.serve_forever(background=True)
        stack.push_async_callback(server.shutdown)
        driver = DRIVERS[kind](bus)
        await driver.open()
        stack.callback(driver.close)
        yield driver


@pytest.mark.parametrize(
    ("kind", "framing"),
    [
        ("modbus_tcp", "tcp"),
        ("modbus_tcp", "rtu"),
        ("modbus_tcp", "ascii"),
        ("modbus_rtu", "rtu"),
        ("modbus_rtu", "ascii"),
    ],
)
def test_every_framing_reads_and_writes_with_every_function_code(kind, framing):
    async def scenario() -> None:
        async with line(kind, framing) as driver:
            assert await driver.exchange(ModbusRequest(1, 1, 0, 10)) == [1, 0, 0, 1, 0, 0, 1, 0, 0, 1]
            assert await driver.exchange(ModbusRequest(1, 2, 3, 9)) == [1, 0, 0, 1, 0, 0, 1, 0, 0]
            assert await driver.exchange(ModbusRequest(1, 3, 5, 3)) == [1005, 1006, 1007]
            assert await driver.exchange(ModbusRequest(1, 4, 5, 3)) == [2005, 2006, 2007]
            assert await driver.exchange(ModbusWrite(1, 5, 1, (1,))) == ()
            assert await driver.exchange(ModbusWrite(1, 15, 2, (1, 0, 1))) == ()
            assert await driver.exchange(ModbusRequest(1, 1, 0, 5)) == [1, 1, 1, 0, 1]
            assert await driver.exchange(ModbusWrite(1, 6, 7, (0xABCD,))) == ()
            assert await driver.exchange(ModbusWrite(1, 16, 8, (1, 0xFFFF))) == ()
            assert await driver.exchange(ModbusRequest(1, 3, 6, 4)) == [1006, 0xABCD, 1, 0xFFFF]
            assert await driver.exchange(ModbusWrite(1, 6, 5000, (1,))) is Reason.MODBUS_ILLEGAL_ADDRESS

    asyncio.run(scenario())


class Station:
    """Devices behind a converter (RTU frames over TCP), each register holding its own address."""

    def __init__(self) -> None:
        self.dead: set[int] = set()
        self.delay_s: Callable[[Request], float] = lambda _request: 0.001
        self.asked: dict[int, list[float]] = defaultdict(list)
        self.written: list[bytes] = []
        self.ended: list[asyncio.Event] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop, buffer = asyncio.get_running_loop(), bytearray()
        self.ended.append(asyncio.Event())
        ended = self.ended[-1]
        while octets := await reader.read(256):
            buffer += octets
            for request in split_rtu(buffer):
                self.asked[request.device_id].append(time.monotonic())
                if request.device_id not in self.dead:
                    loop.call_later(self.delay_s(request), self.answer, writer, request)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        ended.set()

    def answer(self, writer: asyncio.StreamWriter, request: Request) -> None:
        if request.pdu[0] == 3:
            first, count = struct.unpack_from(">HH", request.pdu, 1)
            body = struct.pack(f">BB{count}H", 3, 2 * count, *range(first, first + count))
        else:
            self.written.append(request.pdu)
            body = request.pdu[:5]
        frame = bytes([request.device_id]) + body
        if not writer.is_closing():
            writer.write(frame + compute_crc(frame).to_bytes(2, "little"))


@asynccontextmanager
async def station() -> AsyncIterator[tuple[Station, int]]:
    devices = Station()
    server = await asyncio.start_server(devices.serve, "127.0.0.1", 0)
    try:
        yield devices, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        for ended in devices.ended:
            await asyncio.wait_for(ended.wait(), 5.0)


class Kept:
    """A sink that remembers."""

    def __init__(self, channels: ChannelTable) -> None:
        self.channels = channels
        self.at: dict[str, list[float]] = defaultdict(list)
        self.readings: dict[str, list[tuple]] = defaultdict(list)

    def put(self, bus_id, readings):
        for alias, _, value, reason in readings:
            node = self.channels[alias].node_id
            self.readings[node].append((value, Reason(reason)))
            if reason == Reason.OK:
                self.at[node].append(time.monotonic())

    def line_changed(self, bus_id, is_up):
        pass


@asynccontextmanager
async def polling(bus, memory: LimitMemory | None = None):
    channels = ChannelTable()
    kept = Kept(channels)
    line = build_line(plan_polled_line(bus, {"counter": COUNTER}, Path("/")), channels, memory)
    poller = build_poller(line, kept, lambda: None)
    task = asyncio.create_task(poller.run())
    try:
        yield kept, poller
    finally:
        while not task.done():  # pymodbus' wait_for can swallow a cancellation
            task.cancel()
            await asyncio.wait([task], timeout=0.2)


async def until(is_so: Callable[[], bool], what: str, within_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "delays_s", [[0.07, 0.001, 0.06, 0.12, 0.001, 0.001, 0.045, 0.08], [0.12], [0.17]], ids=["mixed", "late", "later"]
)
def test_answers_that_come_too_late_are_never_taken_for_answers_to_other_questions(delays_s):
    async def scenario() -> None:
        async with station() as (devices, port):
            places = (0, 100, 200, 300)  # four requests of one length
            bus = tcp_bus(port, "rtu", node={"places": places, "poll_interval_s": 0.1}, timeout_s=0.05, probe_max_s=0.1)
            delays = itertools.cycle(delays_s)
            devices.delay_s = lambda _request: next(delays)
            async with polling(bus) as (kept, _):
                await until(lambda: len(devices.asked[1]) > 25, "questions are asked in spite of it all", 20.0)
            for place in places:
                values = {value for value, reason in kept.readings[f"n1-{place}"] if value is not None}
                assert values <= {float(place)}, "a register's value is its address"

    asyncio.run(scenario())


def test_5_dead_of_30_do_not_stall_the_line_and_a_revived_one_is_noticed():
    async def scenario() -> None:
        async with station() as (devices, port):
            bus = tcp_bus(port, "rtu", range(1, 31), timeout_s=0.15, probe_max_s=2.0, node={"poll_interval_s": 0.5})
            living = [f"n{device}-0" for device in range(6, 31)]
            async with polling(bus) as (kept, _):
                await until(lambda: len(kept.at) == 30, "all 30 answer")
                kept.at.clear()
                await asyncio.sleep(3.0)
                well_s = p99_period_s(kept, living)
                devices.dead = {1, 2, 3, 4, 5}
                await asyncio.sleep(2.0)
                kept.at.clear()
                devices.asked.clear()
                await asyncio.sleep(5.0)
                ill_s = p99_period_s(kept, living)
                assert ill_s < 1.1 * well_s, f"{well_s:.3f} s became {ill_s:.3f} s"
                assert all(1 <= len(devices.asked[device]) <= 5 for device in devices.dead), "probed, and rarely"
                devices.dead = set()
                await until(lambda: all(kept.at[f"n{device}-0"] for device in range(1, 6)), "all are noticed", 3.0)

    asyncio.run(scenario())


def p99_period_s(kept: Kept, names: list[str]) -> float:
    periods = sorted(
        later - earlier for name in names for earlier, later in zip(kept.at[name], kept.at[name][1:], strict=False)
    )
    assert len(periods) > 100
    return periods[math.ceil(0.99 * len(periods)) - 1]


def test_a_write_passes_between_polls_is_repeated_when_lost_and_fails_on_a_closed_line():
    async def scenario() -> None:
        async with station() as (devices, port):
            async with polling(tcp_bus(port, "rtu", node={"poll_interval_s": 0.5}, timeout_s=0.1)) as (kept, poller):
                await until(lambda: bool(kept.at), "the line is open")
                begun_s = time.monotonic()
                assert await poller.write(ModbusWrite(1, 6, 7, (42,))) is Reason.OK
                assert time.monotonic() - begun_s < 0.3, "no poll is waited for"
                assert devices.written == [bytes.fromhex("060007002a")]
                devices.dead = {1}
                asyncio.get_running_loop().call_later(0.05, devices.dead.clear)
                assert await poller.write(ModbusWrite(1, 5, 3, (1,))) is Reason.OK, "the lost one was sent again"
                devices.dead = {1}
                assert await poller.write(ModbusWrite(1, 6, 7, (43,))) is Reason.NO_ANSWER
            assert await poller.write(ModbusWrite(1, 6, 7, (44,))) is Reason.LINE_LOST

    asyncio.run(scenario())


CONFIGURATION = """
[gateway]
gateway_id = "gw-1"
district_id = "d-1"
[mqtt]
[spool]
path = "spool.sqlite"
[[bus]]
bus_id = "line"
kind = "modbus_tcp"
host = "127.0.0.1"
port = {port}
[[bus.node]]
node_id = "bearing"
profile = "geokon_3810a"
device_id = 1
[[bus.node]]
node_id = "gone"
profile = "geokon_3810a"
device_id = 99
"""


async def say(*arguments: str) -> tuple[int, str, str]:
    """Runs the command line; exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edge_agent.cli",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 30.0)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@asynccontextmanager
async def thermistor() -> AsyncIterator[int]:
    """The Geokon thermistor of the manual's example, as device 1 behind Modbus TCP."""
    port = free_port()
    registers = SimData(0x0102, values=[0xC87C, 0x4628], datatype=DataType.REGISTERS)
    server = ModbusTcpServer([SimDevice(1, simdata=[registers])], address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield port
    finally:
        await server.shutdown()


def test_scan_finds_devices_on_tcp_and_on_a_serial_line_and_says_so_in_its_exit_code():
    async def scenario() -> None:
        async with station() as (devices, port):
            devices.dead = {1, 2, 4}
            where = ("--host", "127.0.0.1", "--tcp-port", str(port), "--framing", "rtu")
            code, output, _ = await say("scan", *where, "--ids", "1-4")
            assert (code, output) == (0, f"127.0.0.1:{port}  device_id   3  answers: holding register 0 = 0\n")
            code, output, errors = await say("scan", *where, "--ids", "1-2")
            assert (code, output) == (1, "")
            assert "0 devices found" in errors
        async with pseudo_terminals() as (near, far):
            server = ModbusSerialServer([table()], framer=FramerType.RTU, port=far, baudrate=19200)
            await server.serve_forever(background=True)
            code, output, _ = await say("scan", "--port", near, "--ids", "1", "--baud-rates", "9600,19200")
            await server.shutdown()
            assert code == 0
            assert output == f"{near} 9600 8N1  device_id   1  answers: holding register 0 = 1000\n"
        code, _, errors = await say("scan", "--port", "/dev/does-not-exist", "--ids", "1-300")
        assert code == 2
        assert "1-300" in errors
        code, _, errors = await say("scan", "--port", "/dev/does-not-exist", "--ids", "1")
        assert code == 1
        assert "/dev/does-not-exist" in errors

    asyncio.run(scenario())


def test_read_once_shows_the_word_orders_and_watch_a_table(tmp_path):
    async def scenario() -> None:
        async with thermistor() as port:
            configuration = tmp_path / "agent.toml"
            configuration.write_text(CONFIGURATION.format(port=port))
            config = ("--config", str(configuration))
            code, output, _ = await say("read-once", *config, "--node", "bearing", "--word-orders")
            assert code == 0
            plausible = [line for line in output.splitlines() if " plausible " in line]
            assert any(line.endswith("<- profile") and "23.2024 °C" in line for line in plausible)
            code, output, _ = await say("read-once", *config, "--node", "gone", "--word-orders")
            assert code == 1
            assert (await say("read-once", *config, "--word-orders"))[0] == 2
            code, output, _ = await say("watch", *config, "--count", "4")
            assert code == 0
            tables = output.split("channel ")[1:]
            assert len(tables) == 4
            assert "line/gone temperature" in tables[3].splitlines()[1]
            assert "23.2 °C" in tables[3]
            assert "1 of 2 channels good" in tables[3]

    asyncio.run(scenario())
