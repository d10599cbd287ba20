"""One MQTT connection of a Sparkplug edge node (shell): paho in its own thread, reports to the event loop.

Each connection is a client of its own, because each has its own bdSeq in its will. paho reconnects nothing here.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.uplink.broker_choice import MQTT_5, EndKind
from edge_agent.uplink.tls_context import NamedContext

CONNECT_TIMEOUT_S: Final = 2.0
_REFUSED: Final = 0x80
"""MQTT reason codes from here on mean: not done."""
_VERSION_REFUSED: Final = 0x84
"""Unsupported protocol version (MQTT 5, 3.2.2.2); paho also makes it of return code 1 of MQTT 3.1.1."""


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

    kind: EndKind
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
        tls: NamedContext | None,
        will: Will,
        topic_filters: list[str],
        report: Report,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._report = report
        self._topic_filters = topic_filters
        self._goodbye = _goodbye(protocol)
        self._is_answered = False
        self._last_error = ""
        """What paho logs and does not pass on: a TLS alert that comes after the handshake."""
        self._client = client = _build_client(client_id, protocol)
        self._tls = tls
        if tls is not None:
            client.tls_set_context(tls)
        if username is not None:
            client.username_pw_set(username, password)
        client.will_set(will.topic, will.payload, qos=1, retain=False)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.on_log = self._on_log
        properties = None
        if protocol == MQTT_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
        client.connect_async(host, port, keepalive_s, properties=properties)
        client.loop_start()

    def publish(self, topic: str, payload: bytes, qos: int) -> bool:
        """Sends, never retained; False if there is no connection."""
        return self._client.publish(topic, payload, qos=qos, retain=False).rc == mqtt.MQTT_ERR_SUCCESS

    def disconnect(self) -> None:
        """Sends DISCONNECT after what was published; `ConnectionEnded` follows.

        With MQTT 5 it is "Disconnect with Will Message" (tck-id-payloads-ndeath-will-message-publisher-disconnect-
        mqtt50): hosts hear the NDEATH of this connection twice, and the second says nothing new.
        """
        self._client.disconnect(self._goodbye)

    async def close(self) -> None:
        """Ends the thread; harmless if the connection has ended."""
        self._client.disconnect(self._goodbye)
        await asyncio.to_thread(self._client.loop_stop)

    def _tell(self, report: ConnectionReport) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._report, self, report)

    # paho calls these in its own thread.

    def _on_connect(self, client: mqtt.Client, _user: object, _flags: object, code: Any, _props: object) -> None:  # noqa: ANN401
        self._is_answered = True
        if code.is_failure:
            kind = EndKind.VERSION_REFUSED if code.value == _VERSION_REFUSED else EndKind.REFUSED
            self._tell(ConnectionEnded(kind, f"refused: {code}"))
        else:
            client.subscribe([(topic_filter, 1) for topic_filter in self._topic_filters])

    def _on_connect_fail(self, client: mqtt.Client, _user: object) -> None:
        error = sys.exc_info()[1]  # paho calls this while it deals with the error
        client.disconnect()  # else its thread sleeps for a second before it sees that it may end, and `close` with it
        if self._tls is not None:
            self._tls.close_failed()
        self._tell(ConnectionEnded(EndKind.UNREACHABLE, f"cannot be reached: {error}"))

    def _on_subscribe(
        self, _client: mqtt.Client, _user: object, _mid: int, codes: list[ReasonCode], _props: object
    ) -> None:
        if any(code.value >= _REFUSED for code in codes):
            why = f"subscription refused: {', '.join(map(str, codes))}"
            self._tell(ConnectionEnded(EndKind.REFUSED, why))
        else:
            self._tell(ConnectionReady())

    def _on_message(self, _client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        self._tell(MessageArrived(message.topic, bytes(message.payload)))

    def _on_disconnect(self, _client: mqtt.Client, _user: object, _flags: object, code: object, _props: object) -> None:
        kind = EndKind.LOST if self._is_answered else EndKind.CLOSED_EARLY
        self._tell(ConnectionEnded(kind, f"{code}: {self._last_error}" if self._last_error else str(code)))

    def _on_log(self, _client: mqtt.Client, _user: object, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._last_error = text


def _build_client(client_id: str, protocol: str) -> mqtt.Client:
    is_mqtt5 = protocol == MQTT_5
    return mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if is_mqtt5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if is_mqtt5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )


def _send_at_once(_client: mqtt.Client, _user: object, connection: Any) -> None:  # noqa: ANN401
    """An alarm must not wait for TCP's acknowledgement of what went before it: up to 40 ms (RFC 1122, 4.2.3.4)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _goodbye(protocol: str) -> ReasonCode | None:
    """The reason code of our DISCONNECT; MQTT 3.1.1 has none."""
    return ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message") if protocol == MQTT_5 else None
