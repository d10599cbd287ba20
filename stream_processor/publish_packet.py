"""MQTT PUBLISH packets of QoS 0, both ways, many at a time. Pure.

A bridge receives thousands of them a second, and a client library spends longer on one than on its hundred readings:
three reads from the socket, a dozen objects, a dictionary of properties. `PublishSieve` takes them out of what the
broker sends, in the order of the stream, and leaves every other packet, octet by octet, to the library.

    octet 0      0x30 | retain              PUBLISH, QoS 0
    1…4 octets   remaining length           7 bits each, lowest first
    2 octets     length of the topic        then the topic, UTF-8
    MQTT 5 only  length of the properties   the same form, then the properties
    the rest     payload

Source: MQTT 5.0, sections 2.1.4 and 3.3; MQTT 3.1.1, sections 2.2.3 and 3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

SIEVED_BYTES_MAX: Final = 256 * 1024
"""A larger packet is left to the library: it is rare, and would have to be gathered here."""
_PUBLISH: Final = 0x30
_TYPE_AND_QOS: Final = 0xF6
_LENGTH_OCTETS_MAX: Final = 4
_MORE: Final = 0x80


class PublishSieve:
    """Octets from the broker go in; topics and payloads are handed on, and the octets of other packets come out.

    Args:
        take: is told the topic and the payload of each PUBLISH of QoS 0. It must not raise.
        has_properties: whether packets are of MQTT 5.
    """

    def __init__(self, take: Callable[[str, bytes], None], *, has_properties: bool) -> None:
        self._take = take
        self._has_properties = has_properties
        self._octets = b""
        self._at = 0
        """Everything before it is done with."""
        self._passing_bytes = 0
        """How much of a packet that is none of ours is still to come out."""
        self.may_hold_more = False
        """Whether `read` may hand on or give something without another `feed`."""

    def feed(self, octets: bytes) -> None:
        """Takes what came next."""
        self._octets = self._octets[self._at :] + octets
        self._at = 0
        self.may_hold_more = True

    def read(self, size: int) -> bytes:
        """Hands on what comes before the next other packet, then gives at most `size` octets of that one.

        Nothing (b"") means that more must be fed first.
        """
        if not self._passing_bytes:
            self._hand_on()
        end = min(self._at + min(size, self._passing_bytes), len(self._octets))
        octets = self._octets[self._at : end]
        self._passing_bytes -= len(octets)
        self._at = end
        self.may_hold_more = bool(octets) and end < len(self._octets)
        return octets

    def _hand_on(self) -> None:
        """Hands on whole packets, up to one that is not there yet, or not ours."""
        while (packet := self._find_packet()) is not None:
            is_ours = self._is_ours(packet)
            if is_ours and packet.end > len(self._octets):
                return
            message = self._message(packet) if is_ours else None
            if message is None:
                self._passing_bytes = packet.end - self._at
                return
            self._at = packet.end
            self._take(*message)

    def _find_packet(self) -> _Packet | None:
        """The packet that begins here; None if not even its length is there."""
        found = _read_length(self._octets, self._at + 1)
        return None if found is None else _Packet(found.end, found.end + found.number)

    def _is_ours(self, packet: _Packet) -> bool:
        """As far as its first octet and its length tell."""
        return self._octets[self._at] & _TYPE_AND_QOS == _PUBLISH and packet.end - self._at <= SIEVED_BYTES_MAX

    def _message(self, packet: _Packet) -> tuple[str, bytes] | None:
        """Topic and payload of a whole PUBLISH; None if the library shall say what is wrong with it."""
        octets = self._octets
        topic_begin = packet.body + 2
        begin = topic_end = topic_begin + int.from_bytes(octets[packet.body : topic_begin])
        if self._has_properties:
            properties = _read_length(octets, topic_end)
            if properties is None:
                return None
            begin = properties.end + properties.number
        if topic_end == topic_begin or begin > packet.end:
            return None
        try:
            return octets[topic_begin:topic_end].decode(), octets[begin : packet.end]
        except UnicodeDecodeError:
            return None


def encode_publish(topic: str, payload: bytes, *, has_properties: bool) -> bytes:
    """A PUBLISH packet of QoS 0, not retained."""
    name = topic.encode()
    body = b"".join((len(name).to_bytes(2), name, b"\x00" if has_properties else b"", payload))
    return b"".join((bytes([_PUBLISH]), _encode_length(len(body)), body))


class _Packet(NamedTuple):
    body: int
    """Where it begins, after the length."""
    end: int


class _Length(NamedTuple):
    number: int
    end: int


def _read_length(octets: bytes, at: int) -> _Length | None:
    """The number that begins here; None if it is not all there. One that is too long ends with its fourth octet."""
    number = 0
    for place, octet in enumerate(octets[at : at + _LENGTH_OCTETS_MAX]):
        number |= (octet & 0x7F) << (7 * place)
        if octet < _MORE or place == _LENGTH_OCTETS_MAX - 1:
            return _Length(number, at + place + 1)
    return None


def _encode_length(number: int) -> bytes:
    octets = bytearray()
    while number >= _MORE:
        octets.append(number & 0x7F | _MORE)
        number >>= 7
    octets.append(number)
    return bytes(octets)
