"""Captured packets → what was said on each TCP connection and UDP flow, direction by direction. Pure.

TCP segments are put into order by their sequence numbers (RFC 9293): what was sent twice is taken once, what comes
early waits for what is missing. What the capture lacks for good is left out, and the decoder behind finds the next
frame. IP fragments after the first are left out. Link types: Ethernet with VLAN tags (1), raw IP (101, 228, 229),
Linux cooked (113, 276), BSD loopback (0, 108).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from edge_agent.commands.capture_file import Packet

MAX_EARLY_SEGMENTS: Final = 64
"""So many segments wait for a missing one; then it is given up."""

_TCP: Final = 6
_UDP: Final = 17
_SEQUENCE_MODULUS: Final = 1 << 32
_ETHERTYPES_OF_VLAN: Final = (0x8100, 0x88A8)
_IP_AT: Final = {0: 4, 108: 4, 101: 0, 228: 0, 229: 0, 113: 16, 276: 20}
"""Where the IP packet begins, by link type (Ethernet is looked at more closely)."""

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class FlowPiece:
    """Bytes that one side of a connection said next."""

    flow: str
    """`tcp 10.0.0.2:40000 > 10.0.0.1:502`: who opened it, and to whom."""
    is_from_opener: bool
    octets: bytes


@dataclass(frozen=True, slots=True)
class _Segment:
    protocol: int
    sender: Endpoint
    receiver: Endpoint
    octets: bytes
    sequence: int = 0
    is_opening: bool = False
    is_answer: bool = False


@dataclass(slots=True)
class _Direction:
    """One direction of a TCP connection."""

    expected: int | None = None
    early: dict[int, bytes] = field(default_factory=dict)

    def take(self, segment: _Segment) -> bytes:
        """What can be given out in order now."""
        if segment.is_opening:
            self.expected, self.early = (segment.sequence + 1) % _SEQUENCE_MODULUS, {}
            return b""
        if not segment.octets:
            return b""
        if self.expected is None:
            self.expected = segment.sequence
        self.early[segment.sequence] = max(segment.octets, self.early.get(segment.sequence, b""), key=len)
        said = self._take_expected()
        if len(self.early) > MAX_EARLY_SEGMENTS:
            said += self.give_up()
        return said

    def give_up(self) -> bytes:
        """Goes on behind what is missing."""
        said = b""
        while self.early:
            expected = self.expected or 0
            self.expected = min(self.early, key=lambda sequence: (sequence - expected) % _SEQUENCE_MODULUS)
            said += self._take_expected()
        return said

    def _take_expected(self) -> bytes:
        said = bytearray()
        assert self.expected is not None
        while True:
            for sequence, octets in list(self.early.items()):
                known = (self.expected - sequence) % _SEQUENCE_MODULUS
                if known < _SEQUENCE_MODULUS // 2:
                    del self.early[sequence]
                    said += octets[known:]
                    self.expected = (self.expected + max(0, len(octets) - known)) % _SEQUENCE_MODULUS
                    break
            else:
                return bytes(said)


def read_flows(packets: Iterable[Packet]) -> Iterator[FlowPiece]:
    """What was said on all flows, in the order of the capture; what waited in vain comes last.

    A connection whose opening was not captured counts as opened from the higher port.
    """
    openers: dict[frozenset[tuple[int, Endpoint]], Endpoint] = {}
    directions: dict[tuple[int, Endpoint, Endpoint], _Direction] = {}
    for packet in packets:
        segment = _read_segment(packet)
        if segment is None:
            continue
        ends = frozenset({(segment.protocol, segment.sender), (segment.protocol, segment.receiver)})
        if segment.is_opening:
            openers[ends] = segment.receiver if segment.is_answer else segment.sender
        opener = openers.setdefault(ends, max(segment.sender, segment.receiver, key=lambda end: end[1]))
        octets = segment.octets
        if segment.protocol == _TCP:
            key = (segment.protocol, segment.sender, segment.receiver)
            octets = directions.setdefault(key, _Direction()).take(segment)
        if octets:
            yield _piece(segment.protocol, segment.sender, segment.receiver, opener, octets)
    for (protocol, sender, receiver), direction in directions.items():
        if octets := direction.give_up():
            opener = openers[frozenset({(protocol, sender), (protocol, receiver)})]
            yield _piece(protocol, sender, receiver, opener, octets)


def _piece(protocol: int, sender: Endpoint, receiver: Endpoint, opener: Endpoint, octets: bytes) -> FlowPiece:
    other = receiver if opener == sender else sender
    name = "tcp" if protocol == _TCP else "udp"
    flow = f"{name} {opener[0]}:{opener[1]} > {other[0]}:{other[1]}"
    return FlowPiece(flow, opener == sender, octets)


def _read_segment(packet: Packet) -> _Segment | None:
    """The TCP or UDP segment in a packet, if there is one."""
    try:
        addressed = _read_ip(packet.octets[_find_ip(packet) :])
        return None if addressed is None else _read_transport(*addressed)
    except (struct.error, IndexError, ipaddress.AddressValueError):
        return None  # cut off by the capture's snap length within a header


def _find_ip(packet: Packet) -> int:
    if packet.link_type != 1:
        return _IP_AT.get(packet.link_type, len(packet.octets))
    at = 12
    while struct.unpack_from(">H", packet.octets, at)[0] in _ETHERTYPES_OF_VLAN:
        at += 4
    return at + 2


def _read_ip(octets: bytes) -> tuple[int, str, str, bytes] | None:
    """Protocol, sender, receiver and payload."""
    version = octets[0] >> 4
    if version == 4:
        total, fragment = struct.unpack_from(">H2xH", octets, 2)
        if fragment & 0x1FFF:
            return None
        ends = str(ipaddress.IPv4Address(octets[12:16])), str(ipaddress.IPv4Address(octets[16:20]))
        return octets[9], *ends, octets[(octets[0] & 0xF) * 4 : total or None]
    if version == 6:
        (length,) = struct.unpack_from(">H", octets, 4)
        ends = f"[{ipaddress.IPv6Address(octets[8:24])}]", f"[{ipaddress.IPv6Address(octets[24:40])}]"
        return octets[6], *ends, octets[40 : 40 + length if length else None]
    return None


def _read_transport(protocol: int, sender: str, receiver: str, octets: bytes) -> _Segment | None:
    if protocol not in (_TCP, _UDP):
        return None
    from_port, to_port = struct.unpack_from(">HH", octets)
    if protocol == _UDP:
        return _Segment(protocol, (sender, from_port), (receiver, to_port), octets[8:])
    sequence, header, flags = struct.unpack_from(">I4xBB", octets, 4)
    payload = octets[(header >> 4) * 4 :]
    is_opening = bool(flags & 0x02)
    return _Segment(
        protocol, (sender, from_port), (receiver, to_port), payload, sequence, is_opening, bool(flags & 0x10)
    )
