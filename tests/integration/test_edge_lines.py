"""The agent's drivers against real servers: pymodbus over TCP and over a serial line, and a sensor's real frames.

The serial line is two pseudo-terminals with a pump between them, which can spoil, drop or shorten what the server
says: what a bad cable does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from contracts.configuration import check_settings
from contracts.quality import Reason
from edge_agent.drivers import DRIVERS
from edge_agent.errors import LineLostError
from edge_agent.frames.frame_answer import read_answer
from edge_agent.lines.device_poll import FrameRequest, ModbusRequest
from edge_agent.settings.configuration import ModbusRtuBusSettings, ModbusTcpBusSettings, SerialFrameBusSettings
from edge_agent.settings.load_profiles import load_profiles

REGISTERS = list(range(1000, 1100))
CO2_QUESTION = bytes.fromhex("ff0186000000000079")
CO2_FRAME = bytes.fromhex("ff86027c42000000ba")  # 636 ppm, captured from a real sensor
WHOLE = ModbusRequest(device_id=1, function_code=3, address=0, count=10)


def device(device_id: int) -> SimDevice:
    return SimDevice(device_id, simdata=[SimData(0, values=REGISTERS, datatype=DataType.REGISTERS)])


def rtu_bus(port: str) -> ModbusRtuBusSettings:
    node = {"node_id": "n", "profile": "winners_vtn416", "device_id": 1}
    return check_settings(
        ModbusRtuBusSettings,
        {"bus_id": "b", "kind": "modbus_rtu", "port": port, "baud_rate": 115200, "timeout_s": 0.2, "node": [node]},
        "test",
    )


def tcp_bus(port: int) -> ModbusTcpBusSettings:
    node = {"node_id": "n", "profile": "winners_vtn416", "device_id": 1}
    return check_settings(
        ModbusTcpBusSettings,
        {"bus_id": "b", "kind": "modbus_tcp", "host": "127.0.0.1", "port": port, "timeout_s": 0.2, "node": [node]},
        "test",
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Cable:
    """A pair of pseudo-terminals: bytes pass through `spoil`, which may change them."""

    def __init__(self) -> None:
        self.spoil: Callable[[bytes], bytes] = lambda octets: octets
        self._near, near_slave = os.openpty()
        self._far, far_slave = os.openpty()
        self._slaves = (near_slave, far_slave)
        for end in (self._near, self._far, *self._slaves):
            tty.setraw(end)
        self.near_path = os.ttyname(near_slave)
        self.far_path = os.ttyname(far_slave)

    def lay(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._near, lambda: os.write(self._far, os.read(self._near, 1024)))
        loop.add_reader(self._far, lambda: os.write(self._near, self.spoil(os.read(self._far, 1024))))

    def cut(self) -> None:
        loop = asyncio.get_running_loop()
        for end in (self._near, self._far):
            loop.remove_reader(end)
        for end in (self._near, self._far, *self._slaves):
            with contextlib.suppress(OSError):
                os.close(end)


@asynccontextmanager
async def rtu_line() -> AsyncIterator[Cable]:
    cable = Cable()
    cable.lay()
    server = ModbusSerialServer([device(1), device(2)], framer=FramerType.RTU, port=cable.far_path, baudrate=115200)
    await server.serve_forever(background=True)
    try:
        yield cable
    finally:
        await server.shutdown()
        cable.cut()


@asynccontextmanager
async def tcp_server(port: int) -> AsyncIterator[ModbusTcpServer]:
    server = ModbusTcpServer([device(1), device(2)], address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield server
    finally:
        await server.shutdown()


def flip_last_byte(octets: bytes) -> bytes:
    return octets[:-1] + bytes([octets[-1] ^ 0xFF])


def test_tcp_reads_registers_of_each_device_and_tells_exceptions_apart():
    async def scenario() -> None:
        port = free_port()
        async with tcp_server(port):
            driver = DRIVERS["modbus_tcp"](tcp_bus(port))
            await driver.open()
            assert await driver.exchange(WHOLE) == REGISTERS[:10]
            assert await driver.exchange(ModbusRequest(2, 3, 90, 10)) == REGISTERS[90:]
            assert await driver.exchange(ModbusRequest(1, 3, 95, 10)) is Reason.MODBUS_ILLEGAL_ADDRESS
            driver.close()

    asyncio.run(scenario())


def test_tcp_refused_is_a_lost_line_and_a_server_that_comes_up_later_is_found():
    async def scenario() -> None:
        port = free_port()
        driver = DRIVERS["modbus_tcp"](tcp_bus(port))
        with pytest.raises(LineLostError):
            await driver.open()
        async with tcp_server(port):
            await driver.open()
            assert await driver.exchange(WHOLE) == REGISTERS[:10]
        for _ in range(3):  # the server is gone: at the latest the next request but one says so
            with contextlib.suppress(LineLostError):
                assert await driver.exchange(WHOLE) is Reason.NO_ANSWER
                continue
            break
        else:
            pytest.fail("a closed connection was never reported as a lost line")
        driver.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer_hex", "expected"),
    [
        ("", Reason.NO_ANSWER),
        ("0000", Reason.MALFORMED_FRAME),  # and then silence: a truncated header
        ("000100000005 01 03 02 0001", Reason.MALFORMED_FRAME),  # one register where ten were asked for
        ("000100000003 01 83 06", Reason.MODBUS_DEVICE_BUSY),
        ("000100000003 01 83 0b", Reason.MODBUS_GATEWAY_UNAVAILABLE),
    ],
)
def test_tcp_answers_that_are_no_values_have_their_own_reason(answer_hex, expected):
    async def scenario() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(256):
                writer.write(bytes.fromhex(answer_hex))
            writer.close()
            await writer.wait_closed()
            hung_up.set()

        hung_up = asyncio.Event()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        driver = DRIVERS["modbus_tcp"](tcp_bus(server.sockets[0].getsockname()[1]))
        await driver.open()
        assert await driver.exchange(WHOLE) is expected
        driver.close()
        await asyncio.wait_for(hung_up.wait(), 5.0)
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


def test_rtu_tells_silence_corruption_and_rubbish_apart_and_recovers_from_each():
    async def scenario() -> None:
        async with rtu_line() as cable:
            driver = DRIVERS["modbus_rtu"](rtu_bus(cable.near_path))
            await driver.open()
            assert await driver.exchange(WHOLE) == REGISTERS[:10]
            faults: list[tuple[Callable[[bytes], bytes], Reason]] = [
                (flip_last_byte, Reason.CRC_ERROR),
                (lambda octets: octets[:5] + bytes([octets[5] ^ 1]) + octets[6:], Reason.CRC_ERROR),
                (lambda octets: b"", Reason.NO_ANSWER),
                (lambda octets: octets[:7], Reason.MALFORMED_FRAME),
                (lambda octets: b"hello, I am no Modbus device", Reason.MALFORMED_FRAME),
            ]
            for spoil, expected in faults:
                cable.spoil = spoil
                assert await driver.exchange(WHOLE) is expected
                cable.spoil = lambda octets: octets
                assert await driver.exchange(WHOLE) == REGISTERS[:10], f"after {expected}"
            assert await driver.exchange(ModbusRequest(2, 3, 99, 2)) is Reason.MODBUS_ILLEGAL_ADDRESS
            cable.spoil = flip_last_byte
            assert await driver.exchange(ModbusRequest(2, 3, 99, 2)) is Reason.CRC_ERROR
            driver.close()

    asyncio.run(scenario())


def test_a_late_rtu_answer_is_not_taken_for_the_next_ones():
    async def scenario() -> None:
        async with rtu_line() as cable:
            driver = DRIVERS["modbus_rtu"](rtu_bus(cable.near_path))
            await driver.open()
            held: list[bytes] = []
            cable.spoil = lambda octets: held.append(octets) or b""
            exchange = asyncio.create_task(driver.exchange(WHOLE))
            await asyncio.sleep(0.22)  # the time-out of 0.2 s is over, the quiet time is not
            os.write(cable._near, b"".join(held))
            assert await exchange is Reason.NO_ANSWER
            cable.spoil = lambda octets: octets
            assert await driver.exchange(ModbusRequest(1, 3, 50, 10)) == REGISTERS[50:60]
            driver.close()

    asyncio.run(scenario())


def test_closing_a_serial_line_ends_the_question_that_waits_and_frees_the_port_at_once():
    async def scenario() -> None:
        async with rtu_line() as cable:
            cable.spoil = lambda octets: b""
            bus = replace(rtu_bus(cable.near_path), timeout_s=30.0)
            driver = DRIVERS["modbus_rtu"](bus)
            await driver.open()
            waiting = asyncio.create_task(driver.exchange(WHOLE))
            await asyncio.sleep(0.1)
            driver.close()
            cable.spoil = lambda octets: octets
            another = DRIVERS["modbus_rtu"](bus)
            await another.open()  # the port is locked by whoever has it
            assert await another.exchange(WHOLE) == REGISTERS[:10]
            with pytest.raises(LineLostError):
                await asyncio.wait_for(waiting, 1.0)
            another.close()

    asyncio.run(scenario())


def test_a_modbus_port_that_vanishes_is_a_lost_line():
    async def scenario() -> None:
        master, slave = os.openpty()
        tty.setraw(slave)
        driver = DRIVERS["modbus_rtu"](rtu_bus(os.ttyname(slave)))
        await driver.open()
        os.close(slave)
        os.close(master)
        with pytest.raises(LineLostError):
            await driver.exchange(WHOLE)
        driver.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "before_hex",
    ["", "ffff", "00", "01", "010300000001840a"],
    ids=["nothing", "a driver that turns round", "a break", "a broken frame", "the echo of the question"],
)
def test_an_rtu_answer_that_comes_byte_by_byte_is_found_whatever_stands_before_it(before_hex):
    async def scenario() -> None:
        master, slave = os.openpty()
        tty.setraw(slave)
        tty.setraw(master)
        driver = DRIVERS["modbus_rtu"](rtu_bus(os.ttyname(slave)))
        await driver.open()
        answer = bytes.fromhex("0103020007f986")  # register 0 holds 7
        exchange = asyncio.create_task(driver.exchange(ModbusRequest(1, 3, 0, 1)))
        await asyncio.to_thread(os.read, master, 256)
        for octet in bytes.fromhex(before_hex) + answer:
            os.write(master, bytes([octet]))
            await asyncio.sleep(0.002)
        assert await exchange == [7]
        driver.close()
        os.close(slave)
        os.close(master)

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["modbus_rtu", "serial_frame"])
def test_a_port_that_does_not_exist_is_a_lost_line(kind):
    async def scenario() -> None:
        bus = rtu_bus("/dev/does-not-exist") if kind == "modbus_rtu" else frame_bus("/dev/does-not-exist")
        with pytest.raises(LineLostError):
            await DRIVERS[kind](bus).open()

    asyncio.run(scenario())


def frame_bus(port: str) -> SerialFrameBusSettings:
    return check_settings(
        SerialFrameBusSettings,
        {
            "bus_id": "b",
            "kind": "serial_frame",
            "port": port,
            "timeout_s": 0.2,
            "node": [{"node_id": "n", "profile": "winsen_mhz19b"}],
        },
        "test",
    )


@contextlib.asynccontextmanager
async def co2_sensor(answer: Callable[[], list[bytes]]) -> AsyncIterator[str]:
    """A sensor on a pseudo-terminal that answers the right question with the given pieces, 10 ms apart."""
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    loop = asyncio.get_running_loop()
    heard = bytearray()

    def hear() -> None:
        heard.extend(os.read(master, 256))
        if bytes(heard) == CO2_QUESTION:
            heard.clear()
            for order, piece in enumerate(answer()):
                loop.call_later(0.01 * order, os.write, master, piece)

    loop.add_reader(master, hear)
    try:
        yield os.ttyname(slave)
    finally:
        loop.remove_reader(master)
        os.close(slave)
        with contextlib.suppress(OSError):
            os.close(master)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([CO2_FRAME], CO2_FRAME),
        ([bytes([octet]) for octet in CO2_FRAME], CO2_FRAME),
        ([b"\x00\x13garbage" + CO2_FRAME + b"\x55"], CO2_FRAME),
        ([flip_last_byte(CO2_FRAME)], Reason.CRC_ERROR),
        ([CO2_FRAME[:6]], Reason.MALFORMED_FRAME),
        ([], Reason.NO_ANSWER),
    ],
    ids=["whole", "byte by byte", "garbage around", "wrong checksum", "truncated", "silent"],
)
def test_a_serial_sensor_gives_its_frame_or_the_reason_why_not(pieces, expected):
    async def scenario() -> None:
        profile = load_profiles()["winsen_mhz19b"]
        request = FrameRequest(profile.question, profile)
        async with co2_sensor(lambda: list(pieces)) as port:
            driver = DRIVERS["serial_frame"](frame_bus(port))
            await driver.open()
            heard = await driver.exchange(request)
            driver.close()
        if isinstance(heard, Reason):
            assert heard is expected
            return
        answer = read_answer(profile, bytes(heard))
        if isinstance(expected, Reason):
            assert (dict(answer.numbers), answer.missing) == ({}, expected)
        else:
            assert answer.numbers["carbon_dioxide"].number == int.from_bytes(expected[2:4])

    asyncio.run(scenario())


def test_a_serial_port_that_vanishes_is_a_lost_line():
    async def scenario() -> None:
        profile = load_profiles()["winsen_mhz19b"]
        request = FrameRequest(profile.question, profile)
        master, slave = os.openpty()
        tty.setraw(slave)
        driver = DRIVERS["serial_frame"](frame_bus(os.ttyname(slave)))
        await driver.open()
        os.close(slave)
        os.close(master)
        with pytest.raises(LineLostError):
            await driver.exchange(request)
        driver.close()

    asyncio.run(scenario())
