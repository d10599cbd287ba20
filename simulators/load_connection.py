"""One MQTT connection of a load (shell): paho on the event loop's own selector, so that one thread carries thousands.

Each connection is a client of its own, because each has its own bdSeq in its will. paho reconnects nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from simulators.load_gateway import Publication

CONNECT_TIMEOUT_S: Final = 5.0
KEEPALIVE_S: Final = 30
UNWRITTEN_MAX_BYTES: Final = 1_000_000
"""With so much that the socket has not taken yet, the connection is full."""
_REFUSED: Final = 0x80


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to connect, and as whom."""

    host: str
    port: int
    protocol: str = "5"
    """MQTT version: 5 or 3.1.1."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What a connection reports; called on the event loop."""

    ready: Callable[[], None]
    """CONNACK and SUBACK came."""
    ended: Callable[[str], None]
    """Refused, broken or closed, and why. Comes once, and nothing after it."""
    heard: Callable[[str, bytes], None]
    """A message on a subscribed topic."""


class LoadConnection:
    """Begins with `open`."""

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        login: tuple[str, str] | None,
        will: Publication,
        topic_filters: list[str],
        listener: Listener,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._broker = broker
        self._listener = listener
        self._topic_filters = topic_filters
        self._socket: Any = None  # paho's SocketLike
        self._is_writing = False
        self._has_ended = False
        self._unwritten_bytes = 0
        self._client = client = _build_client(client_id, broker.protocol)
        if login is not None:
            client.username_pw_set(*login)
        client.will_set(will.topic, will.payload, qos=will.qos, retain=False)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = lambda _client, _user, message: listener.heard(message.topic, bytes(message.payload))
        client.on_disconnect = lambda _client, _user, _flags, code, _properties: self._end(str(code))
        client.on_socket_close = lambda _client, _user, _socket: self._unwatch()
        client.on_socket_register_write = lambda _client, _user, _socket: self._watch_writing()
        client.on_socket_unregister_write = lambda _client, _user, _socket: self._unwatch_writing()

    @property
    def is_full(self) -> bool:
        """Whether the socket takes less than is published."""
        return self._unwritten_bytes > UNWRITTEN_MAX_BYTES

    async def open(self) -> None:
        """Connects; what comes of it is reported."""
        properties = None
        if self._broker.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
        try:
            await asyncio.to_thread(
                self._client.connect, self._broker.host, self._broker.port, KEEPALIVE_S, properties=properties
            )
        except (OSError, ValueError) as error:
            self._end(f"cannot be reached: {error}")
            return
        if self._has_ended:
            return
        self._socket = self._client.socket()
        if self._socket is None:
            self._end("closed while it was connected")
            return
        self._loop.add_reader(self._socket, self._client.loop_read)
        if self._client.want_write():
            self._watch_writing()

    def publish(self, publication: Publication) -> None:
        """Sends, never retained; without a connection it is lost."""
        self._unwritten_bytes += len(publication.payload)
        self._client.publish(publication.topic, publication.payload, qos=publication.qos, retain=False)

    def tend(self) -> None:
        """Pings when it is time; to be called each second or so."""
        if self._socket is not None:
            self._client.loop_misc()

    def disconnect(self) -> None:
        """Says DISCONNECT after what was published: the broker forgets the will."""
        self._client.disconnect()

    def cut(self) -> None:
        """Closes the TCP connection without a word: the broker publishes the will."""
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _on_connect(self, client: mqtt.Client, _user: object, _flags: object, code: Any, _properties: object) -> None:  # noqa: ANN401  # paho's types
        if code.is_failure:
            self._end(f"refused: {code}")
            client.disconnect()
        else:
            client.subscribe([(topic_filter, 1) for topic_filter in self._topic_filters])

    def _on_subscribe(
        self, client: mqtt.Client, _user: object, _mid: int, codes: list[Any], _properties: object
    ) -> None:
        if any(code.value >= _REFUSED for code in codes):
            self._end(f"subscription refused: {', '.join(map(str, codes))}")
            client.disconnect()
        else:
            self._listener.ready()

    def _end(self, why: str) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._listener.ended(why)

    def _write(self) -> None:
        if self._client.loop_write() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._unwatch_writing()

    def _watch_writing(self) -> None:
        if self._socket is not None and not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._socket, self._write)

    def _unwatch_writing(self) -> None:
        self._unwritten_bytes = 0
        if self._socket is not None and self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._socket)

    def _unwatch(self) -> None:
        if self._socket is not None:
            self._unwatch_writing()
            self._loop.remove_reader(self._socket)
            self._socket = None


def _build_client(client_id: str, protocol: str) -> mqtt.Client:
    is_mqtt5 = protocol == "5"
    return mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if is_mqtt5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if is_mqtt5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
