"""What decoding bytes gives, whatever the protocol: frames with their readings, and rejects with their reason.

The one interface behind `edge-agent decode`. A protocol offers a `DecoderSource`; the command asks it for a `Decoder`
for one stream of bytes (hex, a file), or for a pair of them for the two directions of a captured connection, so that
an answer can be understood by its request. Every byte that was fed is in exactly one `DecodedFrame` or `Rejected`
once `finish` was called, in order, with true offsets; how the bytes were cut into `feed`s changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contracts.quality import REASONS, Reason, level_of
from contracts.quantity import QUANTITIES

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DecodedReading:
    """A measured value, or why there is none."""

    quantity: str
    value: float | None
    """In the quantity's unit; None: there is no value, and `reason` says why."""
    reason: Reason = Reason.OK
    unit: str | None = None
    """UCUM; None: the unit of the quantity in contracts."""
    time: str | None = None
    """When it was measured (ISO 8601 with its zone), where the frame says so."""


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A whole, right frame."""

    offset: int
    """Where it began in all bytes that were fed."""
    octets: bytes
    """As they were on the line (stuffed, with start and end)."""
    readings: Sequence[DecodedReading] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    """What the frame says beside values: JSON values only."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Bytes that are no right frame, or a frame that says an error in place of values."""

    offset: int
    octets: bytes
    reason: Reason
    detail: str = ""
    """Names the place and the value."""


Decoded = DecodedFrame | Rejected


class Decoder(Protocol):
    """One direction of one stream of bytes."""

    def feed(self, octets: bytes) -> list[Decoded]:
        """Takes the next bytes; gives what is decided now, in the order of the bytes."""

    def finish(self) -> list[Decoded]:
        """Nothing more comes: gives what is left."""


class DecoderSource(Protocol):
    """Builds decoders for one device or protocol."""

    @property
    def title(self) -> str:
        """For people: what it decodes."""

    def build(self) -> Decoder:
        """A decoder for a stream of which nothing else is known (hex, a file)."""

    def build_pair(self) -> tuple[Decoder, Decoder]:
        """Decoders for both directions of a connection: from who opened it, and to who opened it.

        They are fed in the order of the capture, so they may share what the answers need to know of the requests.
        """


@dataclass(frozen=True, slots=True)
class OneWayDecoders:
    """A source whose directions know nothing of each other: what a protocol without questions needs."""

    title: str
    build_one: Callable[[], Decoder]

    def build(self) -> Decoder:
        """See DecoderSource."""
        return self.build_one()

    def build_pair(self) -> tuple[Decoder, Decoder]:
        """See DecoderSource."""
        return self.build_one(), self.build_one()


def describe_decoded(found: Decoded, device: str) -> JsonObject:
    """The JSON object that stands for a frame or a reject."""
    if isinstance(found, Rejected):
        return {
            "reject": found.reason.wire_name,
            "offset": found.offset,
            "octets": found.octets.hex(),
            "detail": found.detail or REASONS[found.reason].text,
            "device": device,
        }
    return {
        "frame": found.octets.hex(),
        "offset": found.offset,
        "device": device,
        "readings": [_describe_reading(reading) for reading in found.readings],
        "info": dict(found.info),
    }


def _describe_reading(reading: DecodedReading) -> JsonObject:
    described: JsonObject = {
        "quantity": reading.quantity,
        "value": reading.value,
        "unit": QUANTITIES[reading.quantity].unit if reading.unit is None else reading.unit,
        "quality": level_of(reading.reason).value,
    }
    if reading.reason is not Reason.OK:
        described["reason"] = reading.reason.wire_name
    if reading.time is not None:
        described["time"] = reading.time
    return described
