"""Two short cuts past aiomqtt and paho, for PUBLISH packets of QoS 0 (shell). All use of their inner parts is here.

aiomqtt keeps the connection: it connects, authenticates, subscribes, pings, publishes our STATE, and says when it is
lost. But it spends 100 microseconds on a message that comes and twice that on one that goes (paho 2.2 makes a
`Properties` for each, and aiomqtt waits with a timer until each is written). So what comes is read through a
`PublishSieve`, which stands between paho and its socket, and what goes is written in one piece.

tests/integration/test_lean_connection.py says whether a new version of aiomqtt or paho has moved these parts.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any, Final, cast

import aiomqtt
import paho.mqtt.client as paho

from stream_processor.publish_packet import PublishSieve, encode_publish

READ_BYTES: Final = 64 * 1024
"""At most so much is read and handed on before other tasks have their turn: some 30 payloads of 100 readings."""
WRITE_LOOK_S: Final = 0.005
WRITE_TIMEOUT_S: Final = 5.0
_OF_NO_KIND: Final = 0
"""paho looks into a packet that it has written by its kind, to call back its sender. Ours has none to be called."""


class LeanConnection:
    """The connection of an aiomqtt client that has just connected and not yet subscribed.

    Args:
        client: ours, within its `async with`.
        sieve: is fed with what the broker sends.
        has_properties: whether the connection speaks MQTT 5.
    """

    def __init__(self, client: aiomqtt.Client, sieve: PublishSieve, *, has_properties: bool) -> None:
        self._paho = cast("Any", client._client)  # noqa: SLF001
        self._has_properties = has_properties
        self._paho._sock = _SievedSocket(self._paho, sieve)  # noqa: SLF001

    async def publish(self, publications: Iterable[tuple[str, bytes]]) -> None:
        """Writes topics and payloads with QoS 0, in one piece; what the socket does not take, paho writes later.

        Raises aiomqtt.MqttError if the connection is lost, or the broker has read nothing for WRITE_TIMEOUT_S.
        """
        packets = b"".join(
            encode_publish(topic, payload, has_properties=self._has_properties) for topic, payload in publications
        )
        await self._until_written()
        self._paho._out_packet.append(  # noqa: SLF001
            {
                "command": _OF_NO_KIND,
                "mid": 0,
                "qos": 0,
                "pos": 0,
                "to_process": len(packets),
                "packet": packets,
                "info": None,
            }
        )
        if not self._paho._registered_write:  # noqa: SLF001  # else the event loop will call it, and must find work
            code = self._paho.loop_write()
            if code != paho.MQTT_ERR_SUCCESS:
                raise aiomqtt.MqttCodeError(code, "Could not publish messages")

    async def _until_written(self) -> None:
        """Nothing is piled up for a broker that does not read."""
        deadline_s = time.monotonic() + WRITE_TIMEOUT_S
        while self._paho.want_write():
            if self._paho.socket() is None:
                raise aiomqtt.MqttError("the connection is lost")
            if time.monotonic() > deadline_s:
                raise aiomqtt.MqttError(f"the broker has read nothing for {WRITE_TIMEOUT_S:.0f} s")
            await asyncio.sleep(WRITE_LOOK_S)


class _SievedSocket:
    """What paho takes for its socket, and aiomqtt for one that may hold more than the event loop sees."""

    def __init__(self, client: Any, sieve: PublishSieve) -> None:  # noqa: ANN401  # paho's inner parts have no types
        self._paho = client
        self._socket: socket.socket = client.socket()
        self._sieve = sieve

    def recv(self, size: int) -> bytes:
        """Octets of packets that the sieve leaves. Raises BlockingIOError if there are none at hand."""
        octets = self._sieve.read(size)
        if octets:
            return octets
        arrived = self._socket.recv(READ_BYTES)
        if not arrived:
            return b""  # the broker has closed the connection
        self._paho._last_bytes_received = time.monotonic()  # noqa: SLF001  # or it would miss the answer to its ping
        self._sieve.feed(arrived)
        octets = self._sieve.read(size)
        if not octets:
            raise BlockingIOError
        return octets

    def pending(self) -> int:
        """Whether paho shall read again although the event loop sees nothing to read."""
        if self._sieve.may_hold_more:
            return 1
        return self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0

    def send(self, octets: bytes) -> int:
        """As the socket does."""
        return self._socket.send(octets)

    def fileno(self) -> int:
        """As the socket does."""
        return self._socket.fileno()

    def close(self) -> None:
        """As the socket does."""
        self._socket.close()
