"""An MQTT client for tests that notes what happens to it, and what is needed to start a broker of one's own."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

DEADLINE_S = 10.0
NOT_AUTHORISED = 0x87


def wait_until(what: str, check: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not check():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Client:
    """A paho client that notes what happens to it."""

    client: mqtt.Client
    connected: list[ReasonCode] = field(default_factory=list)
    lost: list[ReasonCode] = field(default_factory=list)
    published: list[ReasonCode] = field(default_factory=list)
    subscribed: list[ReasonCode] = field(default_factory=list)
    received: list[tuple[str, bytes, bool]] = field(default_factory=list)

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> ReasonCode:
        before = len(self.published)
        self.client.publish(topic, payload, qos=1, retain=retain)
        wait_until(f"PUBACK for {topic}", lambda: len(self.published) > before)
        return self.published[-1]

    def subscribe(self, topic_filter: str) -> None:
        before = len(self.subscribed)
        self.client.subscribe(topic_filter, qos=1)
        wait_until(f"SUBACK for {topic_filter}", lambda: len(self.subscribed) > before)

    def vanish(self) -> None:
        """The network goes away without a DISCONNECT."""
        connection = self.client.socket()
        assert connection is not None
        connection.shutdown(socket.SHUT_RDWR)

    def listen(self) -> None:
        """From now on, notes what the broker says."""
        self.client.on_connect = lambda *event: self.connected.append(event[3])
        self.client.on_disconnect = lambda *event: self.lost.append(event[3])
        self.client.on_publish = lambda *event: self.published.append(event[3])
        self.client.on_subscribe = lambda *event: self.subscribed.extend(event[3])
        self.client.on_message = lambda *event: self.received.append(
            (event[2].topic, event[2].payload, event[2].retain)
        )

    @property
    def is_accepted(self) -> bool:
        return self.connected == [ReasonCode(PacketTypes.CONNACK, "Success")]

    def has(self, topic: str) -> bool:
        return any(received == topic for received, _, _ in self.received)
