"""A proxy before a real broker that notes every packet that a client sends: what stands on the wire, read by itself.

Only what the tests ask about is read: CONNECT, SUBSCRIBE, PUBLISH and DISCONNECT of MQTT 3.1.1 and 5. No MQTT library
takes part, so that a client is not judged by its own codec.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field

CONNECT, PUBLISH, SUBSCRIBE, SUBACK, DISCONNECT = 1, 3, 8, 9, 14
MQTT_5 = 5
SESSION_EXPIRY_INTERVAL = 0x11
_PROPERTY_BYTES = {0x11: 4, 0x21: 2, 0x27: 4, 0x22: 2, 0x19: 1, 0x17: 1, 0x18: 4, 0x01: 1, 0x02: 4, 0x23: 2, 0x0B: 1}
_TEXTS = {0x03, 0x08, 0x09, 0x15, 0x16}
_TEXT_PAIR = 0x26


@dataclass(frozen=True)
class Publication:
    """A PUBLISH, or the will of a CONNECT."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    at_ns: int


@dataclass(frozen=True)
class Session:
    """A CONNECT."""

    level: int
    is_clean: bool
    session_expiry_s: int
    client_id: str
    will: Publication | None


@dataclass(frozen=True)
class Subscription:
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Farewell:
    """A DISCONNECT."""

    reason_code: int


Packet = Session | Subscription | Publication | Farewell


class Reader:
    """Bytes of one packet."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.position = 0

    def take(self, count: int) -> bytes:
        assert self.position + count <= len(self.octets), "the client sent a packet that ends too early"
        taken = self.octets[self.position : self.position + count]
        self.position += count
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def blob(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        return self.blob().decode()

    def varint(self) -> int:
        value = shift = 0
        while True:
            octet = self.number(1)
            value |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                return value

    def properties(self) -> dict[int, int]:
        """Numbers by property; texts are passed over."""
        length = self.varint()  # first: reading it moves on
        end = self.position + length
        found = {}
        while self.position < end:
            identifier = self.number(1)
            if identifier in _PROPERTY_BYTES:
                found[identifier] = self.number(_PROPERTY_BYTES[identifier])
            else:
                assert identifier in {*_TEXTS, _TEXT_PAIR}, f"property {identifier:#x}"
                for _ in range(2 if identifier == _TEXT_PAIR else 1):
                    self.blob()
        return found


def read_connect(reader: Reader, at_ns: int) -> Session:
    assert reader.text() == "MQTT"
    level, flags = reader.number(1), reader.number(1)
    reader.number(2)  # keep alive
    properties = reader.properties() if level == MQTT_5 else {}
    client_id = reader.text()
    will = None
    if flags & 0x04:
        if level == MQTT_5:
            assert reader.properties().get(0x18, 0) == 0, "a will that is delayed"
        will = Publication(reader.text(), reader.blob(), flags >> 3 & 3, bool(flags & 0x20), at_ns)
    return Session(level, bool(flags & 0x02), properties.get(SESSION_EXPIRY_INTERVAL, 0), client_id, will)


def read_packet(kind: int, flags: int, body: bytes, level: int, at_ns: int) -> Packet | None:
    reader = Reader(body)
    if kind == CONNECT:
        return read_connect(reader, at_ns)
    if kind == SUBSCRIBE:
        reader.number(2)
        if level == MQTT_5:
            reader.properties()
        filters = []
        while reader.position < len(body):
            filters.append((reader.text(), reader.number(1) & 3))
        return Subscription(tuple(filters))
    if kind == PUBLISH:
        topic, qos = reader.text(), flags >> 1 & 3
        if qos:
            reader.number(2)
        if level == MQTT_5:
            assert not reader.properties()  # topic aliases would hide the topic
        return Publication(topic, body[reader.position :], qos, bool(flags & 1), at_ns)
    if kind == DISCONNECT:
        return Farewell(body[0] if body else 0)
    return None


@dataclass
class Connection:
    """What one client connection has sent so far."""

    packets: list[Packet] = field(default_factory=list)
    sockets: tuple[socket.socket, ...] = ()
    _buffer: bytes = b""
    _level: int = 4

    def feed(self, octets: bytes) -> None:
        self._buffer += octets
        while (split := self._split()) is not None:
            kind, flags, body = split
            packet = read_packet(kind, flags, body, self._level, time.time_ns())
            if isinstance(packet, Session):
                self._level = packet.level
            if packet is not None:
                self.packets.append(packet)

    def _split(self) -> tuple[int, int, bytes] | None:
        length = 0
        for index in range(1, min(5, len(self._buffer))):
            length |= (self._buffer[index] & 0x7F) << (7 * (index - 1))
            if self._buffer[index] < 0x80:
                start, end = index + 1, index + 1 + length
                if len(self._buffer) < end:
                    return None
                first, body = self._buffer[0], self._buffer[start:end]
                self._buffer = self._buffer[end:]
                return first >> 4, first & 0x0F, body
        return None

    def of(self, kind: type[Packet]) -> list[Packet]:
        return [packet for packet in self.packets if isinstance(packet, kind)]


class WireTap:
    """Listens on a port of its own and passes everything on to a broker."""

    def __init__(self, broker_port: int) -> None:
        self.connections: list[Connection] = []
        self.refuses_subscriptions = False
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """The network goes away, without a word to either side."""
        for connection in self.connections:
            for each in connection.sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self._broker_port))
            connection = Connection(sockets=(client, broker))
            self.connections.append(connection)
            for source, sink, note in ((client, broker, connection.feed), (broker, client, None)):
                self._threads.append(threading.Thread(target=self._pump, args=(source, sink, note), daemon=True))
                self._threads[-1].start()

    def _pump(self, source: socket.socket, sink: socket.socket, note) -> None:
        with source:
            while True:
                try:
                    octets = source.recv(65_536)
                    if not octets:
                        break
                    if note is not None:
                        note(octets)
                    elif self.refuses_subscriptions and octets[0] >> 4 == SUBACK:
                        octets = octets[:-2] + b"\x87\x87"  # two filters: not authorized
                    sink.sendall(octets)
                except OSError:
                    break
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)
