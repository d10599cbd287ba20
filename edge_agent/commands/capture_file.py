"""Packets of a capture file: classic pcap (microseconds or nanoseconds, either byte order) and pcapng.

    pcap     24-byte header (magic, versions, zone, accuracy, snap length, link type), then per packet 16 bytes
             (seconds, fraction, captured length, original length) and the packet
    pcapng   blocks of type, total length, body, total length; section header 0A0D0D0A, interface 1, simple packet 3,
             enhanced packet 6

Sources: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. A file that is cut off gives its whole packets and then
a CaptureError: a capture that was still being written has nothing to hide.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_PCAP_ORDER: Final = {
    b"\xd4\xc3\xb2\xa1": "<",
    b"\x4d\x3c\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">",
    b"\xa1\xb2\x3c\x4d": ">",
}
_PCAPNG_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
_PCAPNG_ORDER: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_PCAP_HEADER_BYTES: Final = 24
_PCAP_PACKET_BYTES: Final = 16
_INTERFACE_BLOCK: Final = 1
_SIMPLE_PACKET_BLOCK: Final = 3
_ENHANCED_PACKET_BLOCK: Final = 6
_ENHANCED_HEADER_BYTES: Final = 20


class CaptureError(Exception):
    """A capture file that is not well-formed; the text names the place."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A captured packet."""

    link_type: int
    """How it begins: a LINKTYPE_ number of https://www.tcpdump.org/linktypes.html."""
    octets: bytes


def is_capture(octets: bytes) -> bool:
    """Whether a file that begins with these bytes is a capture."""
    return octets[:4] in _PCAP_ORDER or octets[:4] == _PCAPNG_MAGIC


def read_packets(octets: bytes) -> Iterator[Packet]:
    """The packets of a capture file, in its order. Raises CaptureError."""
    return _read_pcapng(octets) if octets[:4] == _PCAPNG_MAGIC else _read_pcap(octets)


def _read_pcap(octets: bytes) -> Iterator[Packet]:
    order = _PCAP_ORDER.get(octets[:4])
    if order is None or len(octets) < _PCAP_HEADER_BYTES:
        raise CaptureError("this is neither a pcap nor a pcapng file")
    (link_type,) = struct.unpack_from(order + "I", octets, 20)
    at = _PCAP_HEADER_BYTES
    while at < len(octets):
        if at + _PCAP_PACKET_BYTES > len(octets):
            raise CaptureError(f"byte {at}: the capture ends within a packet's header")
        (length,) = struct.unpack_from(order + "I", octets, at + 8)
        at += _PCAP_PACKET_BYTES
        if at + length > len(octets):
            raise CaptureError(f"byte {at}: the capture ends within a packet of {length} bytes")
        yield Packet(link_type & 0xFFFF, octets[at : at + length])
        at += length


def _read_pcapng(octets: bytes) -> Iterator[Packet]:
    order, at = "<", 0
    link_types: list[int] = []
    while at < len(octets):
        if octets[at : at + 4] == _PCAPNG_MAGIC:
            order, link_types = _PCAPNG_ORDER.get(octets[at + 8 : at + 12], order), []
        if at + 12 > len(octets):
            raise CaptureError(f"byte {at}: the capture ends within a block's header")
        kind, length = struct.unpack_from(order + "II", octets, at)
        if length < 12 or length % 4 or at + length > len(octets):
            raise CaptureError(f"byte {at}: a block of {length} bytes does not fit")
        body = octets[at + 8 : at + length - 4]
        if kind == _INTERFACE_BLOCK and len(body) >= 2:
            link_types.append(struct.unpack_from(order + "H", body)[0])
        elif kind in (_ENHANCED_PACKET_BLOCK, _SIMPLE_PACKET_BLOCK):
            yield _read_packet_block(kind, order, body, link_types, at)
        at += length


def _read_packet_block(kind: int, order: str, body: bytes, link_types: list[int], at: int) -> Packet:
    is_simple = kind == _SIMPLE_PACKET_BLOCK
    header_bytes = 4 if is_simple else _ENHANCED_HEADER_BYTES
    if len(body) < header_bytes:
        raise CaptureError(f"byte {at}: a packet block of {len(body)} bytes is too short")
    interface = 0 if is_simple else struct.unpack_from(order + "I", body)[0]
    (length,) = struct.unpack_from(order + "I", body, 0 if is_simple else 12)
    if interface >= len(link_types):
        raise CaptureError(f"byte {at}: a packet of the interface {interface}, which was not described")
    return Packet(link_types[interface], body[header_bytes : header_bytes + length])
