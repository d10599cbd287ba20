"""The bridge (shell): a Sparkplug host application on the broker. It decides nothing; `host_session` does.

    broker → HostSession.step → effects: commands are published at once, everything else goes into the bounded channel

Order of the host's birth (Sparkplug 3.0, section 5.3): connect with the will `{"online":false}`, subscribe, publish
`{"online":true}` with the will's timestamp, retained.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Iterable

import aiomqtt

from contracts.observation import NANOSECONDS_PER_MILLISECOND
from contracts.sparkplug.topic import NAMESPACE, StateTopic
from stream_processor.bounded_channel import BoundedChannel
from stream_processor.configuration import MqttSettings
from stream_processor.host_session import CommandDue, Effect, HostSession

_log = logging.getLogger("stream_processor.bridge")

RECONNECT_FIRST_S = 0.25
RECONNECT_MAX_S = 15.0
_PROTOCOLS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}


class Bridge:
    """Keeps the connection to the broker, for as long as `run` runs."""

    def __init__(self, settings: MqttSettings, session: HostSession, channel: BoundedChannel) -> None:
        self._settings = settings
        self._session = session
        self._channel = channel
        self._client: aiomqtt.Client | None = None
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
        client = self._client
        if client is None or not self.is_connected:
            return
        try:
            for command in commands:
                await client.publish(command.topic, command.payload, qos=0)
        except aiomqtt.MqttError as error:
            _log.warning("publish_failed error=%s", error)

    async def _serve(self) -> None:
        settings = self._settings
        birth_ms = time.time_ns() // NANOSECONDS_PER_MILLISECOND
        # One session a host id: a second processor with the same host id takes the connection over, which is seen.
        async with aiomqtt.Client(
            settings.host,
            settings.port,
            username=settings.username,
            password=_read_secret(settings),
            identifier=settings.host_id,
            protocol=_PROTOCOLS[settings.protocol],
            clean_session=True if settings.protocol == "3.1.1" else None,
            keepalive=settings.keepalive_s,
            will=aiomqtt.Will(self._state_topic, _state(is_online=False, time_ms=birth_ms), qos=1, retain=True),
            timeout=5.0,
        ) as client:
            self._client = client
            await client.subscribe(f"{NAMESPACE}/#", qos=1)
            await client.publish(self._state_topic, _state(is_online=True, time_ms=birth_ms), qos=1, retain=True)
            self.is_connected = True
            _log.info("broker_connected host=%s port=%d host_id=%s", settings.host, settings.port, settings.host_id)
            try:
                await self._receive(client, birth_ms)
            except asyncio.CancelledError:
                # A clean stop says so itself: a clean MQTT disconnect discards the will.
                time_ms = time.time_ns() // NANOSECONDS_PER_MILLISECOND
                await client.publish(self._state_topic, _state(is_online=False, time_ms=time_ms), qos=1, retain=True)
                raise

    async def _receive(self, client: aiomqtt.Client, birth_ms: int) -> None:
        async for message in client.messages:
            topic = str(message.topic)
            payload = message.payload if isinstance(message.payload, bytes) else b""
            if topic == self._state_topic:
                await self._correct_state(client, payload, birth_ms)
                continue
            await self._take(self._session.step(topic, payload, time.time_ns()))

    async def _take(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, CommandDue):
                await self.publish([effect])
            else:
                self._channel.put(effect)

    async def _correct_state(self, client: aiomqtt.Client, payload: bytes, birth_ms: int) -> None:
        """Whoever says that we are offline is wrong: an old will, or a host that took over our name."""
        try:
            is_online = json.loads(payload)["online"]
        except (ValueError, KeyError, TypeError):
            is_online = False
        if is_online is not True:
            await client.publish(self._state_topic, _state(is_online=True, time_ms=birth_ms), qos=1, retain=True)

    def _lose(self) -> None:
        self.is_connected = False
        self._client = None
        for effect in self._session.lose_connection(time.time_ns()):
            self._channel.put(effect)


def _state(*, is_online: bool, time_ms: int) -> str:
    return json.dumps({"online": is_online, "timestamp": time_ms}, separators=(",", ":"))


def _read_secret(settings: MqttSettings) -> str | None:
    return None if settings.password_file is None else settings.password_file.read_text().strip()
