"""Sensors that send frames, on pseudo-terminals, polled as the agent polls them: driver, device, node's calibration."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from contracts.configuration import check_settings
from contracts.errors import ConfigurationError
from contracts.quality import Reason
from edge_agent.channel_table import ChannelTable
from edge_agent.drivers import DRIVERS
from edge_agent.frames.frame_device import FrameDevice
from edge_agent.lines.build_poller import build_line
from edge_agent.plan_agent import plan_polled_line
from edge_agent.settings.configuration import SerialFrameBusSettings, parse_configuration
from edge_agent.settings.load_profiles import load_profiles

PROFILES = load_profiles()
SDS011 = bytes.fromhex("aac00800080058d941ab")
SPS30 = bytes.fromhex(
    "7e0003002840df03da417d3162ae41279e32412c107d5e42307d5ed34255c04c425e0908425fa28a425fe4433f40fa1fff7e"
)


def bus_of(port: str, profile: str, **node: object) -> SerialFrameBusSettings:
    return check_settings(
        SerialFrameBusSettings,
        {
            "bus_id": "b",
            "kind": "serial_frame",
            "port": port,
            "timeout_s": 0.3,
            "node": [{"node_id": "n", "profile": profile} | node],
        },
        "test",
    )


@contextlib.asynccontextmanager
async def sensor(speak: Callable[[bytes], list[bytes]], every_s: float | None = None) -> AsyncIterator[str]:
    """A sensor that answers what it hears with pieces 10 ms apart, or speaks by itself (then it hears nothing)."""
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    loop = asyncio.get_running_loop()

    def say(heard: bytes) -> None:
        for order, piece in enumerate(speak(heard)):
            loop.call_later(0.01 * order, os.write, master, piece)

    async def talk() -> None:
        while True:
            say(b"")
            await asyncio.sleep(every_s or 1.0)

    talking = None if every_s is None else asyncio.create_task(talk())
    if talking is None:
        loop.add_reader(master, lambda: say(os.read(master, 256)))
    try:
        yield os.ttyname(slave)
    finally:
        if talking is not None:
            talking.cancel()
            await asyncio.sleep(0.05)  # pieces that are under way
        loop.remove_reader(master)
        os.close(slave)
        os.close(master)


async def poll_once(bus: SerialFrameBusSettings) -> dict[str, tuple[float | None, Reason]]:
    """One poll, through the driver, as `poll_bus` makes it."""
    channels = ChannelTable()
    (device,) = build_line(plan_polled_line(bus, PROFILES, Path("/")), channels).devices
    assert isinstance(device, FrameDevice)
    driver = DRIVERS["serial_frame"](bus)
    await driver.open()
    polling = device.poll(0.0)
    answer = await driver.exchange(next(polling))
    driver.close()
    with pytest.raises(StopIteration) as stopped:
        polling.send(answer)
    return {channels[alias].quantity: (value, reason) for alias, value, reason in stopped.value.value}


def test_a_sensor_that_speaks_by_itself_is_heard_from_the_middle_of_a_frame_on():
    async def scenario() -> None:
        async with sensor(lambda _: [SDS011[6:], SDS011[:3], SDS011[3:]], every_s=0.1) as port:
            read = await poll_once(bus_of(port, "novafitness_sds011"))
            assert read == {"pm2_5": (0.8, Reason.OK), "pm10": (0.8, Reason.OK)}

    asyncio.run(scenario())


def test_a_stuffed_answer_in_pieces_is_read_and_the_nodes_calibration_goes_before():
    async def scenario() -> None:
        def speak(heard: bytes) -> list[bytes]:
            return [SPS30[:11], SPS30[11:12], SPS30[12:]] if heard == bytes.fromhex("7e000300fc7e") else []

        async with sensor(speak) as port:
            calibration = {"pm2_5": {"kind": "linear", "scale": 2.0, "offset": 1.0}}
            read = await poll_once(bus_of(port, "sensirion_sps30", calibration=calibration))
            assert read["pm2_5"][0] == pytest.approx(9.0866 * 2.0 + 1.0, abs=1e-3)
            assert read["pm10"][0] == pytest.approx(10.754, abs=1e-3)
            assert {reason for _, reason in read.values()} == {Reason.OK}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("7e00030000fc7e", Reason.WARM_UP),
        ("7e00004300bc7e", Reason.DEVICE_FAULT),
        ("7e00030000fd7e", Reason.CRC_ERROR),
        ("7e0003", Reason.MALFORMED_FRAME),
        ("", Reason.NO_ANSWER),
    ],
    ids=["nothing new", "refusal", "wrong checksum", "truncated", "silent"],
)
def test_a_sensor_without_values_says_why_on_each_channel(answer, expected):
    async def scenario() -> None:
        async with sensor(lambda _: [bytes.fromhex(answer)] if answer else []) as port:
            read = await poll_once(bus_of(port, "sensirion_sps30"))
            assert len(read) == 10
            assert set(read.values()) == {(None, expected)}

    asyncio.run(scenario())


def test_channels_that_come_in_several_lines_are_waited_for_and_what_never_comes_is_missing():
    lines = [b"0R1,Dm=236D,Sm=2.5M\r\n", b"0R2,Ta=21.5C,Ua=40.2P,Pa=1003.2H\r\n"]

    async def scenario() -> None:
        async with sensor(lambda _: lines) as port:
            wanted = ["wind_direction", "wind_speed", "temperature"]
            read = await poll_once(bus_of(port, "vaisala_wxt", quantities=wanted))
            assert read == {
                "wind_direction": (236.0, Reason.OK),
                "wind_speed": (2.5, Reason.OK),
                "temperature": (21.5, Reason.OK),
            }
            read = await poll_once(bus_of(port, "vaisala_wxt", quantities=["wind_speed", "rainfall"]))
            assert read == {"wind_speed": (2.5, Reason.OK), "rainfall": (None, Reason.NO_ANSWER)}

    asyncio.run(scenario())


def configuration(node: str) -> str:
    return f"""
[gateway]
gateway_id = "g"
district_id = "d"
[mqtt]
[spool]
path = "spool.sqlite"
[[bus]]
bus_id = "b"
kind = "serial_frame"
port = "/dev/ttyS0"
[[bus.node]]
node_id = "n"
{node}
"""


def test_a_node_may_name_its_quantities_and_only_those_need_their_calibration():
    good = 'profile = "davis_vantage_loop"\nquantities = ["temperature", "wind_speed"]'
    assert parse_configuration(configuration(good), "agent.toml", PROFILES).bus[0].node[0].node_id == "n"
    for node, wanted in {
        'profile = "davis_vantage_loop"': "rainfall: the profile needs a calibration",
        'profile = "davis_vantage_loop"\nquantities = ["strain"]': "'strain' is not one of air_pressure",
        'profile = "sdi12_crc"': "for decode only",
    }.items():
        with pytest.raises(ConfigurationError, match=r"\$\.bus\[0\]\.node\[0\]") as caught:
            parse_configuration(configuration(node), "agent.toml", PROFILES)
        assert wanted in str(caught.value)
