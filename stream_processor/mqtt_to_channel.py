"""The bridge (shell): a Sparkplug host application on the broker. It decides nothing; `host_session` does.

    broker → HostSession.step → effects: commands are published at once, everything else goes into the bounded channel

Order of the host's birth (Sparkplug 3.0, section 5.3): connect with the will `{"online":false}`, subscribe, publish
`{"online":true}` with the will's timestamp, retained. Whatever ends a connection that still stands, `{"online":false}`
is published before it is closed: a clean MQTT disconnect discards the will.

Several bridges share a city by district. Each is a host application of its own: with its own host id, hence its own
STATE, will and client id. An edge node names the host id of its district's bridge as its primary host, so that it
notices when that bridge dies and no other. One host id for all would lie: an MQTT connection has one will, and a bridge
that lives would keep the STATE of one that died online, because the specification makes a host correct it. Host ids
must be unique (tck-id-operational-behavior-host-application-host-id).
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

import aiomqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

from contracts.observation import NANOSECONDS_PER_MILLISECOND
from contracts.sparkplug.topic import NAMESPACE, StateTopic
from stream_processor.bounded_channel import BoundedChannel
from stream_processor.configuration import MqttSettings
from stream_processor.effects import CommandDue, Effect
from stream_processor.host_session import HostSession
from stream_processor.lean_connection import LeanConnection
from stream_processor.publish_packet import PublishSieve

_log = logging.getLogger("stream_processor.bridge")

RECONNECT_FIRST_S = 0.25
RECONNECT_MAX_S = 15.0
TICK_S = 0.1
"""How exactly the reorder timeout and the back-off of rebirth requests are kept."""
DEATH_TIMEOUT_S = 1.0
"""A stop must not wait for a broker that does not answer: the will then speaks for us."""
SUBACK_REFUSED = 0x80
_PROTOCOLS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}


class Bridge:
    """Keeps the connection to the broker, for as long as `run` runs."""

    def __init__(self, settings: MqttSettings, session: HostSession, channel: BoundedChannel) -> None:
        self._settings = settings
        self._session = session
        self._channel = channel
        self._connection: LeanConnection | None = None
        self._state_topic = str(StateTopic(settings.host_id))
        self.is_connected = False

    async def run(self) -> None:
        """Connects, and connects again with back-off and jitter, until cancelled."""
        delay_s = RECONNECT_FIRST_S
        while True:
            started_s = time.monotonic()
            try:
                await self._serve()
            except aiomqtt.MqttError as error:
                _log.warning("broker_lost host=%s port=%d error=%s", self._settings.host, self._settings.port, error)
            finally:
                self._lose()
            if time.monotonic() - started_s > RECONNECT_MAX_S:
                delay_s = RECONNECT_FIRST_S
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
            delay_s = min(2 * delay_s, RECONNECT_MAX_S)

    async def publish(self, commands: Iterable[CommandDue]) -> None:
        """Publishes commands, QoS 0. Without a connection they are dropped: agents ask and send again."""
        connection = self._connection
        due = [(command.topic, command.payload) for command in commands]
        if connection is None or not due:
            return
        try:
            await connection.publish(due)
        except aiomqtt.MqttError as error:  # whether the connection is lost, `_until_lost` says
            _log.warning("publish_failed commands=%d error=%s", len(due), error)

    async def _serve(self) -> None:
        settings = self._settings
        birth_ms = time.time_ns() // NANOSECONDS_PER_MILLISECOND
        is_mqtt5 = settings.protocol == "5"
        outbox = _Outbox()
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        take = _guarded(partial(self._take_message, birth_ms, outbox), failed)
        # One session a host id: a second processor with the same host id takes the connection over, which is seen.
        async with aiomqtt.Client(
            settings.host,
            settings.port,
            username=settings.username,
            password=_read_secret(settings),
            identifier=settings.host_id,
            protocol=_PROTOCOLS[settings.protocol],
            # MQTT 5: a new client starts clean, and without a session expiry interval, which means 0.
            clean_session=True if settings.protocol == "3.1.1" else None,
            keepalive=settings.keepalive_s,
            tls_params=_tls(settings),
            will=aiomqtt.Will(self._state_topic, _state(is_online=False, time_ms=birth_ms), qos=1, retain=True),
            queue_type=_direct_inbox(take),
            timeout=5.0,
            # A rebirth or an acknowledgement waits for no acknowledgement of TCP (up to 40 ms: RFC 1122, 4.2.3.4).
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        ) as client:
            sieve = PublishSieve(take, has_properties=is_mqtt5)
            self._connection = LeanConnection(client, sieve, has_properties=is_mqtt5)
            await self._subscribe(client)
            try:
                await client.publish(self._state_topic, _state(is_online=True, time_ms=birth_ms), qos=1, retain=True)
                self.is_connected = True
                _log.info("broker_connected host=%s port=%d host_id=%s", settings.host, settings.port, settings.host_id)
                await _first_to_end(
                    _until_lost(client), _raise_from(failed), self._send(client, outbox), self._keep_time(outbox)
                )
            finally:
                await self._publish_death(client)

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        groups = [f"{NAMESPACE}/{district_id}/#" for district_id in self._settings.districts] or [f"{NAMESPACE}/#"]
        codes = await client.subscribe(_subscriptions(self._state_topic, groups, self._settings.protocol))
        refused = [code for code in codes if (code if isinstance(code, int) else code.value) >= SUBACK_REFUSED]
        if refused:
            raise aiomqtt.MqttError(f"the broker refuses our subscription ({refused[0]}): see its access control list")

    async def _publish_death(self, client: aiomqtt.Client) -> None:
        time_ms = time.time_ns() // NANOSECONDS_PER_MILLISECOND
        death = _state(is_online=False, time_ms=time_ms)
        try:
            await client.publish(self._state_topic, death, qos=1, retain=True, timeout=DEATH_TIMEOUT_S)
        except aiomqtt.MqttError:
            _log.info("death_left_to_the_will")  # the connection is gone already

    async def _send(self, client: aiomqtt.Client, outbox: _Outbox) -> None:
        while True:
            due = [await outbox.get()]
            while not outbox.empty():
                due.append(outbox.get_nowait())
            await self.publish(each for each in due if isinstance(each, CommandDue))
            for state in (each for each in due if isinstance(each, str)):
                try:
                    await client.publish(self._state_topic, state, qos=1, retain=True)
                except aiomqtt.MqttError as error:  # whether the connection is lost, `_until_lost` says
                    _log.warning("publish_failed topic=%s error=%s", self._state_topic, error)

    async def _keep_time(self, outbox: _Outbox) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._take(self._session.tick(time.time_ns()), outbox)

    def _take_message(self, birth_ms: int, outbox: _Outbox, topic: str, payload: bytes) -> None:
        if topic == self._state_topic:
            if not _says_online(payload):
                # Whoever says that we are offline is wrong: an old will, or a host that took over our name.
                outbox.put_nowait(_state(is_online=True, time_ms=birth_ms))
            return
        self._take(self._session.step(topic, payload, time.time_ns()), outbox)

    def _take(self, effects: Iterable[Effect], outbox: _Outbox) -> None:
        """What was received goes on in the order of the session."""
        for effect in effects:
            if isinstance(effect, CommandDue):
                outbox.put_nowait(effect)
            else:
                self._channel.put(effect)

    def _lose(self) -> None:
        self.is_connected = False
        self._connection = None
        for effect in self._session.lose_connection(time.time_ns()):
            self._channel.put(effect)


_Outbox = asyncio.Queue[CommandDue | str]
"""What we owe the broker: commands, and our STATE (a text)."""
_Take = Callable[[str, bytes], None]
"""Is given a topic and a payload."""


def _guarded(take: _Take, failed: asyncio.Future[None]) -> _Take:
    """An error of `take` goes to `failed`, since aiomqtt would take it for a lost connection."""

    def guarded(topic: str, payload: bytes) -> None:
        try:
            take(topic, payload)
        except Exception as error:  # noqa: BLE001  # a defect of ours: it ends the process, with its trace
            if not failed.done():
                failed.set_exception(error)

    return guarded


def _direct_inbox(take: _Take) -> type[asyncio.Queue[aiomqtt.Message]]:
    """A queue for aiomqtt that hands on at once what it is given: all that the sieve leaves, so that order is kept.

    Nothing ever waits in it.
    """

    class DirectInbox(asyncio.Queue[aiomqtt.Message]):
        def put_nowait(self, item: aiomqtt.Message) -> None:
            take(item.topic.value, item.payload)

    return DirectInbox


def _subscriptions(
    state_topic: str, groups: Iterable[str], protocol: str
) -> list[tuple[str, int]] | list[tuple[str, SubscribeOptions]]:
    """Topic filters with QoS 1. By MQTT 5 the broker does not send us our own commands back (No Local)."""
    if protocol != "5":
        return [(topic, 1) for topic in (state_topic, *groups)]
    others = SubscribeOptions(qos=1, noLocal=True)
    return [(state_topic, SubscribeOptions(qos=1)), *((topic, others) for topic in groups)]


async def _until_lost(client: aiomqtt.Client) -> None:
    """Raises MqttError when the connection is lost."""
    async for _ in client.messages:
        raise AssertionError("a message that was not handed on")


async def _raise_from(failed: asyncio.Future[None]) -> None:
    await failed


def _says_online(payload: bytes) -> bool:
    try:
        return json.loads(payload)["online"] is True
    except (ValueError, KeyError, TypeError):
        return False


async def _first_to_end(*endless: Coroutine[Any, Any, None]) -> None:
    """Runs all until one ends or raises; the others are cancelled, and its error is raised."""
    tasks = [asyncio.create_task(each) for each in endless]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _state(*, is_online: bool, time_ms: int) -> str:
    return json.dumps({"online": is_online, "timestamp": time_ms}, separators=(",", ":"))


def _read_secret(settings: MqttSettings) -> str | None:
    return None if settings.password_file is None else settings.password_file.read_text().strip()


def _tls(settings: MqttSettings) -> aiomqtt.TLSParameters | None:
    """Certificates are always checked, and so is the host name."""
    if settings.ca_file is None:
        return None
    return aiomqtt.TLSParameters(
        ca_certs=str(settings.ca_file),
        certfile=None if settings.certificate_file is None else str(settings.certificate_file),
        keyfile=None if settings.key_file is None else str(settings.key_file),
    )
