"""Serial instruments as their line sees them: one of each kind of frame that the edge agent can be told. Pure.

| name      | frame                                            | speaks                                         |
|-----------|--------------------------------------------------|------------------------------------------------|
| plantower | bytes of fixed length, 16-bit sum                | each second, or when asked in passive mode     |
| sds011    | bytes between AA and AB, 8-bit sum               | each second, and when asked                    |
| sps30     | stuffed bytes between 7E and 7E (SHDLC)          | when asked; nothing new: an empty answer       |
| vaisala   | lines of key=value with unit letters, SDI-12 CRC | when asked                                     |
| nmea      | lines with an XOR check                          | every two seconds                              |
| davis     | an ACK, then 99 bytes with CRC-CCITT             | when asked; after two minutes it must be woken |

Values are in the quantity's unit of `contracts.quantity`. Sources: shared/standards/fields.md 1.2, 1.3 and 1.7; Davis
Serial Communication Reference Manual 2.6.1, section X.1. None of the agent's codecs is used here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

_ACTIVE_S: Final = 1.0
_NMEA_S: Final = 2.0
_DAVIS_AWAKE_S: Final = 120.0
_CR_LF: Final = b"\r\n"


class SerialInstrument(Protocol):
    """What is at the other end of the line."""

    values: dict[str, float]
    """By quantity; may be changed at any time."""

    def step(self, octets: bytes, now_s: float, /) -> bytes:
        """Takes what came, which may be nothing; gives what it puts on the line now, asked or by itself."""


def defaults(**values: float) -> Callable[[], dict[str, float]]:
    """A fresh dictionary of values for each instrument."""
    return lambda: dict(values)


@dataclass(slots=True)
class Plantower:
    """PMS5003 and its like: 13 words behind `42 4D 00 1C`."""

    values: dict[str, float] = field(default_factory=defaults(pm1=5.0, pm2_5=12.0, pm10=18.0))
    is_active: bool = True
    _due_s: float = 0.0
    _buffer: bytearray = field(default_factory=bytearray)

    def step(self, octets: bytes, now_s: float, /) -> bytes:
        """See SerialInstrument."""
        self._buffer += octets
        answers = b"".join(self._obey(question) for question in _cut(self._buffer, b"BM", 7))
        if not self.is_active or now_s < self._due_s:
            return answers
        self._due_s = now_s + _ACTIVE_S
        return answers + self._measurement()

    def _obey(self, question: bytes) -> bytes:
        if _sum16(question[:5]) != question[5:]:
            return b""
        command, mode = question[2], question[4]
        if command == 0xE2:
            return self._measurement()
        if command == 0xE1:
            self.is_active = mode == 1
            confirmation = bytes((0x42, 0x4D, 0, 4, command, mode))
            return confirmation + _sum16(confirmation)
        return b""

    def _measurement(self) -> bytes:
        dust = [round(self.values[name]) for name in ("pm1", "pm2_5", "pm10")]
        words = [28, *dust, *dust, 900, 400, 120, 30, 8, 2, 0x9100]
        body = b"BM" + b"".join(word.to_bytes(2, "big") for word in words)
        return body + _sum16(body)


@dataclass(slots=True)
class Sds011:
    """NovaFitness: `AA C0`, two little-endian words, the device's number, an 8-bit sum, `AB`."""

    values: dict[str, float] = field(default_factory=defaults(pm2_5=12.3, pm10=18.4))
    _due_s: float = 0.0
    _buffer: bytearray = field(default_factory=bytearray)

    def step(self, octets: bytes, now_s: float, /) -> bytes:
        """See SerialInstrument."""
        self._buffer += octets
        answers = b"".join(self._measurement() for one in _cut(self._buffer, b"\xaa\xb4", 19) if one[2] == 4)
        if now_s < self._due_s:
            return answers
        self._due_s = now_s + _ACTIVE_S
        return answers + self._measurement()

    def _measurement(self) -> bytes:
        words = [round(self.values[name] * 10) for name in ("pm2_5", "pm10")]
        body = b"".join(word.to_bytes(2, "little") for word in words) + b"\xa1\x60"
        return b"\xaa\xc0" + body + bytes((sum(body) & 0xFF, 0xAB))


@dataclass(slots=True)
class Sps30:
    """SHDLC: `7E`, stuffed content and its inverted sum, `7E`."""

    values: dict[str, float] = field(default_factory=defaults(pm1=4.5, pm2_5=6.25, pm4=7.5, pm10=8.0))
    is_measuring: bool = True
    """Other than the real one, it need not be started."""
    _read_s: float = -_ACTIVE_S
    _buffer: bytearray = field(default_factory=bytearray)

    def step(self, octets: bytes, now_s: float, /) -> bytes:
        """See SerialInstrument."""
        self._buffer += octets
        return b"".join(self._obey(content, now_s) for content in _unstuffed(self._buffer))

    def _obey(self, content: bytes, now_s: float) -> bytes:
        if len(content) < 4 or sum(content) & 0xFF != 0xFF:
            return b""
        command = content[1]
        if command in {0x00, 0x01}:
            was_measuring, self.is_measuring = self.is_measuring, command == 0x00
            return _shdlc(command, 0x43 if was_measuring == self.is_measuring else 0x00, b"")
        if command != 0x03:
            return _shdlc(command, 0x02, b"")
        if not self.is_measuring:
            return _shdlc(command, 0x43, b"")
        if now_s - self._read_s < _ACTIVE_S:
            return _shdlc(command, 0x00, b"")
        self._read_s = now_s
        return _shdlc(command, 0x00, self._measurement())

    def _measurement(self) -> bytes:
        dust = [self.values[name] for name in ("pm1", "pm2_5", "pm4", "pm10")]
        return b"".join(_f32(number) for number in [*dust, 30.0, 35.5, 36.0, 36.25, 36.5, 0.5])


@dataclass(slots=True)
class Vaisala:
    """A WXT5xx that is asked with `0R0` or, with check, `0r0`."""

    values: dict[str, float] = field(
        default_factory=defaults(
            wind_direction=236.0,
            wind_speed=3.2,
            temperature=21.5,
            relative_humidity=45.5,
            air_pressure=1008.1,
            rainfall=0.25,
            supply_voltage=12.1,
        )
    )
    address: str = "0"
    _buffer: bytearray = field(default_factory=bytearray)

    def step(self, octets: bytes, _now_s: float, /) -> bytes:
        """See SerialInstrument."""
        self._buffer += octets
        return b"".join(self._obey(question) for question in _lines(self._buffer))

    def _obey(self, question: str) -> bytes:
        if question == f"{self.address}R0":
            return f"{self.address}R0,{self._parts()}".encode() + _CR_LF
        name = f"{self.address}r0"
        if question == name + sdi12_check(name):
            line = f"{name},{self._parts()}"
            return (line + sdi12_check(line)).encode() + _CR_LF
        return b""

    def _parts(self) -> str:
        has = self.values
        return (
            f"Dm={has['wind_direction']:.0f}D,Sm={has['wind_speed']:.1f}M,Ta={has['temperature']:.1f}C,"
            f"Ua={has['relative_humidity']:.1f}P,Pa={has['air_pressure']:.1f}H,Rc={has['rainfall']:.2f}M,"
            f"Vs={has['supply_voltage']:.1f}V"
        )


@dataclass(slots=True)
class Nmea:
    """A weather transmitter that sends MWV and XDR sentences."""

    values: dict[str, float] = field(
        default_factory=defaults(wind_direction=236.0, wind_speed=3.2, temperature=21.5, relative_humidity=45.5)
    )
    _due_s: float = 0.0

    def step(self, _octets: bytes, now_s: float, /) -> bytes:
        """See SerialInstrument."""
        if now_s < self._due_s:
            return b""
        self._due_s = now_s + _NMEA_S
        has = self.values
        wind = f"WIMWV,{has['wind_direction']:.0f},R,{has['wind_speed']:.1f},M,A"
        air = f"WIXDR,C,{has['temperature']:.1f},C,0,H,{has['relative_humidity']:.1f},P,0"
        return _sentence(wind) + _sentence(air)


@dataclass(slots=True)
class Davis:
    """A Vantage console that is asked for one LOOP packet."""

    values: dict[str, float] = field(
        default_factory=defaults(
            temperature=21.5, relative_humidity=45.0, air_pressure=1008.1, wind_speed=3.2, wind_direction=236.0
        )
    )
    _heard_s: float = -_DAVIS_AWAKE_S
    _buffer: bytearray = field(default_factory=bytearray)

    def step(self, octets: bytes, now_s: float, /) -> bytes:
        """See SerialInstrument."""
        if not octets:
            return b""
        is_awake = now_s - self._heard_s < _DAVIS_AWAKE_S
        self._heard_s = now_s
        if not is_awake:
            self._buffer.clear()
            return b"\n\r"
        self._buffer += octets
        return b"".join(self._obey(question) for question in _lines(self._buffer))

    def _obey(self, question: str) -> bytes:
        if not question:
            return b"\n\r"
        if question.startswith("LOOP "):
            return b"\x06" + self._packet()
        return b"\x21"  # NAK

    def _packet(self) -> bytes:
        has = self.values
        packet = bytearray(b"LOO\x00\x00" + bytes(92))
        words = {
            7: round(has["air_pressure"] / 33.86388640341 * 1000),
            9: 32767,
            12: round((has["temperature"] * 1.8 + 32) * 10) & 0xFFFF,
            16: round(has["wind_direction"]) or 360,
            44: 32767,
            87: round(4.5 * 51200 / 300),
        }
        for offset, word in words.items():
            packet[offset : offset + 2] = word.to_bytes(2, "little")
        packet[11] = packet[43] = 255
        packet[14] = packet[15] = round(has["wind_speed"] / 0.44704)
        for first, end in ((18, 33), (34, 41), (62, 70)):  # no such sensor
            packet[first:end] = b"\xff" * (end - first)
        packet[33] = round(has["relative_humidity"])
        packet[95:97] = b"\n\r"
        return bytes(packet) + crc_ccitt(packet).to_bytes(2, "big")


INSTRUMENTS: Final[Mapping[str, Callable[[], SerialInstrument]]] = MappingProxyType(
    {"plantower": Plantower, "sds011": Sds011, "sps30": Sps30, "vaisala": Vaisala, "nmea": Nmea, "davis": Davis}
)
"""By name."""


def sdi12_check(text: str) -> str:
    """Three characters: CRC-16 of polynomial A001 (reflected), begun with 0, six bits each above 40 hex."""
    register = 0
    for octet in text.encode("ascii"):
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return "".join(chr(0x40 | register >> shift & 0x3F) for shift in (12, 6, 0))


def crc_ccitt(octets: bytes | bytearray) -> int:
    """Polynomial 1021, begun with 0, high bit first."""
    register = 0
    for octet in octets:
        register ^= octet << 8
        for _ in range(8):
            register = (register << 1 ^ (0x1021 if register & 0x8000 else 0)) & 0xFFFF
    return register


def _sum16(octets: bytes) -> bytes:
    return (sum(octets) & 0xFFFF).to_bytes(2, "big")


def _f32(number: float) -> bytes:
    return struct.pack(">f", number)


def _sentence(text: str) -> bytes:
    check = 0
    for octet in text.encode("ascii"):
        check ^= octet
    return f"${text}*{check:02X}\r\n".encode("ascii")


def _shdlc(command: int, state: int, data: bytes) -> bytes:
    content = bytes((0x00, command, state, len(data))) + data
    content += bytes((~sum(content) & 0xFF,))
    stuffed = content.replace(b"\x7d", b"\x7d\x5d")
    for octet, stand_in in ((b"\x7e", b"\x7d\x5e"), (b"\x11", b"\x7d\x31"), (b"\x13", b"\x7d\x33")):
        stuffed = stuffed.replace(octet, stand_in)
    return b"\x7e" + stuffed + b"\x7e"


def _unstuffed(buffer: bytearray) -> Iterator[bytes]:
    """The content of each frame between two 7E at the front of `buffer`."""
    while (begin := buffer.find(0x7E)) >= 0:
        end = buffer.find(0x7E, begin + 1)
        if end < 0:
            return
        content = bytes(buffer[begin + 1 : end])
        if not content:  # the end of one frame, and the begin of the next
            del buffer[: begin + 1]
            continue
        del buffer[: end + 1]
        for stand_in, octet in ((b"\x7d\x33", b"\x13"), (b"\x7d\x31", b"\x11"), (b"\x7d\x5e", b"\x7e")):
            content = content.replace(stand_in, octet)
        yield content.replace(b"\x7d\x5d", b"\x7d")


def _cut(buffer: bytearray, start: bytes, length: int) -> Iterator[bytes]:
    """Takes frames of a fixed length out of `buffer`; skips garbage."""
    while (at := buffer.find(start)) >= 0:
        del buffer[:at]
        if len(buffer) < length:
            return
        yield bytes(buffer[:length])
        del buffer[:length]
    del buffer[: max(0, len(buffer) - len(start) + 1)]


def _lines(buffer: bytearray) -> Iterator[str]:
    """Takes lines that end with LF or CR LF from the front of `buffer`."""
    while (end := buffer.find(b"\n")) >= 0:
        line = bytes(buffer[:end]).decode("ascii", "replace").strip("\r")
        del buffer[: end + 1]
        yield line
