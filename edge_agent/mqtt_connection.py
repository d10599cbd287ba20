"""One MQTT connection of a Sparkplug edge node (shell): paho in its own thread, reports to the event loop.

Each connection is a client of its own, because each has its own bdSeq in its will. paho reconnects nothing here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

CONNECT_TIMEOUT_S: Final = 2.0
_REFUSED: Final = 0x80
"""MQTT reason codes from here on mean: not done."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes if the connection breaks."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class ConnectionReady:
    """Connected, and all subscriptions were granted."""


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """Refused, broken or closed; nothing more comes of this connection."""

    why: str


@dataclass(frozen=True, slots=True)
class MessageArrived:
    """A message on a subscribed topic."""

    topic: str
    payload: bytes


ConnectionReport = ConnectionReady | ConnectionEnded | MessageArrived
Report = Callable[["MqttConnection", ConnectionReport], None]


class MqttConnection:
    """Opens at once; reports come in the event loop's thread."""

    def __init__(
        self,
        *,
        client_id: str,
        host: str,
        port: int,
        protocol: str,
        keepalive_s: int,
        username: str | None,
        password: str | None,
        will: Will,
        topic_filters: list[str],
        report: Report,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._report = report
        self._topic_filters = topic_filters
        self._client = client = _build_client(client_id, protocol)
        if username is not None:
            client.username_pw_set(username, password)
        client.will_set(will.topic, will.payload, qos=1, retain=False)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        properties = None
        if protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
        client.connect_async(host, port, keepalive_s, properties=properties)
        client.loop_start()

    def publish(self, topic: str, payload: bytes, qos: int) -> bool:
        """Sends, never retained; False if there is no connection."""
        return self._client.publish(topic, payload, qos=qos, retain=False).rc == mqtt.MQTT_ERR_SUCCESS

    def disconnect(self) -> None:
        """Sends DISCONNECT after what was published; `ConnectionEnded` follows."""
        self._client.disconnect()

    async def close(self) -> None:
        """Ends the thread; harmless if the connection has ended."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def _tell(self, report: ConnectionReport) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._report, self, report)

    # paho calls these in its own thread.

    def _on_connect(self, client: mqtt.Client, _user: object, _flags: object, code: Any, _props: object) -> None:  # noqa: ANN401
        if code.is_failure:
            self._tell(ConnectionEnded(f"refused: {code}"))
        else:
            client.subscribe([(topic_filter, 1) for topic_filter in self._topic_filters])

    def _on_connect_fail(self, _client: mqtt.Client, _user: object) -> None:
        self._tell(ConnectionEnded("cannot be reached"))

    def _on_subscribe(
        self, _client: mqtt.Client, _user: object, _mid: int, codes: list[ReasonCode], _props: object
    ) -> None:
        if any(code.value >= _REFUSED for code in codes):
            self._tell(ConnectionEnded(f"subscription refused: {', '.join(map(str, codes))}"))
        else:
            self._tell(ConnectionReady())

    def _on_message(self, _client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        self._tell(MessageArrived(message.topic, bytes(message.payload)))

    def _on_disconnect(self, _client: mqtt.Client, _user: object, _flags: object, code: object, _props: object) -> None:
        self._tell(ConnectionEnded(str(code)))


def _build_client(client_id: str, protocol: str) -> mqtt.Client:
    is_mqtt5 = protocol == "5"
    return mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if is_mqtt5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if is_mqtt5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
