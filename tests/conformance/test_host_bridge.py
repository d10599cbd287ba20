"""Host assertions that need more than one broker, or a fault within the host: on the Bridge and a real mosquitto."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.fleet import FleetSnapshot
from stream_processor.bounded_channel import BoundedChannel
from stream_processor.configuration import MqttSettings
from stream_processor.fleet_index import FleetIndex
from stream_processor.host_session import HostSession
from stream_processor.mqtt_to_channel import Bridge
from tests.conformance.wire_tap import Connection, Farewell, Publication, Session, WireTap

pytestmark = pytest.mark.needs_mosquitto

STATE = "spBv1.0/STATE/city-7"
EMPTY = FleetSnapshot(revision=1, districts=[], sites=[], gateways=[], nodes=[], channels=[], conditions=[])
DEADLINE_S = 20.0


class BrokenSession(HostSession):
    """A host with a defect: its first message ends it."""

    def step(self, topic_name, payload, received_ns):
        raise ArithmeticError("a defect of ours")


def bridge_to(tap: WireTap, session: HostSession | None = None, host_id: str = "city-7") -> Bridge:
    settings = MqttSettings(port=tap.port, host_id=host_id)
    return Bridge(settings, session or HostSession(FleetIndex(EMPTY)), BoundedChannel(1_000))


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not check():  # noqa: ASYNC110  # what is waited for happens on sockets and in logs
            await asyncio.sleep(0.01)


async def until_connected(bridge: Bridge) -> None:
    await until(lambda: bridge.is_connected)


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def will_and_states(connection: Connection) -> tuple[dict[str, object], list[dict[str, object]]]:
    session = connection.packets[0]
    assert isinstance(session, Session)
    assert session.will is not None
    published = [packet for packet in connection.packets if isinstance(packet, Publication)]
    assert {packet.topic for packet in published} == {STATE}
    return json.loads(session.will.payload), [json.loads(packet.payload) for packet in published]


def test_on_two_brokers_each_has_the_timestamp_of_its_own_session_and_the_birth_first(
    tap: WireTap, tmp_path: Path, running_mosquitto
):
    async def run(taps: list[WireTap]) -> None:
        bridges = [bridge_to(each) for each in taps]
        tasks = []
        for bridge in bridges:
            tasks.append(asyncio.create_task(bridge.run()))
            await until_connected(bridge)
            await asyncio.sleep(0.01)
        for task in tasks:
            await stop(task)

    (tmp_path / "second").mkdir()
    with running_mosquitto(tmp_path / "second") as port:
        second = WireTap(port)
        asyncio.run(run([tap, second]))
        second.close()
    told = [will_and_states(each.connections[0]) for each in (tap, second)]
    for will, states in told:
        assert states[0] == {"online": True, "timestamp": will["timestamp"]}
        assert states[-1]["online"] is False
    assert told[0][0]["timestamp"] < told[1][0]["timestamp"]


def test_a_host_that_fails_says_that_it_is_offline_before_it_disconnects(tap: WireTap):
    async def run() -> None:
        async with asyncio.timeout(DEADLINE_S):
            bridge = bridge_to(tap, BrokenSession(FleetIndex(EMPTY)))
            failing = asyncio.create_task(bridge.run())
            await until_connected(bridge)
            speaking = asyncio.create_task(bridge_to(tap, host_id="another").run())
            with pytest.raises(ArithmeticError):
                await failing
            await stop(speaking)

    asyncio.run(run())
    death, farewell = tap.connections[0].packets[-2:]
    assert isinstance(death, Publication)
    assert isinstance(farewell, Farewell)
    assert (death.topic, death.qos, death.retain) == (STATE, 1, True)
    assert json.loads(death.payload)["online"] is False


def test_a_host_whose_subscription_is_refused_does_not_claim_to_be_online(
    tap: WireTap, caplog: pytest.LogCaptureFixture
):
    async def run() -> None:
        task = asyncio.create_task(bridge_to(tap).run())
        await until(lambda: "refuses our subscription" in caplog.text)
        await stop(task)

    tap.refuses_subscriptions = True
    asyncio.run(run())
    assert not tap.connections[0].of(Publication)


def test_what_a_host_commands_waits_for_no_acknowledgement_of_tcp(tap: WireTap, monkeypatch: pytest.MonkeyPatch):
    options: list[tuple[object, ...]] = []

    async def run() -> None:
        bridge = bridge_to(tap)
        task = asyncio.create_task(bridge.run())
        await until_connected(bridge)
        await stop(task)

    monkeypatch.setattr(socket.socket, "setsockopt", lambda _, *option: options.append(option), raising=False)
    asyncio.run(run())
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options
