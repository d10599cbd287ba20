"""`decode --device gb26875_3`: every frame of a stream with what it says, whoever sent it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from contracts.quality import Reason
from edge_agent.commands.decoded import (
    Decoded,
    DecodedFrame,
    DecodedReading,
    Decoder,
    JsonObject,
    OneWayDecoders,
    Rejected,
)
from edge_agent.frames.frame_search import FoundFrame
from edge_agent.frames.search_reader import SearchReader
from edge_agent.gb26875.gb26875_channel import (
    ANALOGUE_TYPES,
    STATE_WORDS,
    SYSTEM_OPERATION_WORDS,
    TRANSMITTER_OPERATION_WORDS,
    TRANSMITTER_WORDS,
    words_of,
)
from edge_agent.gb26875.gb26875_data import Content, DataUnit, DataUnitError, UnitType, decode_data_unit, decode_time
from edge_agent.gb26875.gb26875_frame import Command, Frame, build_search, decode_frame
from edge_agent.gb26875.gb26875_report import PlaceReading, read_data_unit
from edge_agent.lines.local_time import format_china_time

TITLE: Final = "GB/T 26875.3-2011: fire alarm transmission between transmitters and a centre"


def build_decoder() -> Decoder:
    """Of one direction of one stream."""
    return SearchReader(build_search(), _decode)


def gb26875_decoders() -> OneWayDecoders:
    """For the registry of decoders."""
    return OneWayDecoders(TITLE, build_decoder)


def _decode(found: FoundFrame) -> Decoded:
    frame = decode_frame(found.octets)
    info = _describe_frame(frame)
    if not frame.data_unit:
        return DecodedFrame(found.offset, found.octets, (), info)
    try:
        unit = decode_data_unit(frame.data_unit)
    except DataUnitError as error:
        return Rejected(found.offset, found.octets, Reason.MALFORMED_FRAME, str(error))
    readings = [_reading(one) for one in read_data_unit(unit)]
    return DecodedFrame(found.offset, found.octets, readings, {**info, **_describe_unit(unit)})


def _reading(one: PlaceReading) -> DecodedReading:
    time = None if one.time_ns is None else format_china_time(one.time_ns)
    return DecodedReading(one.quantity, one.value, one.reason, time=time)


def _describe_frame(frame: Frame) -> JsonObject:
    is_known = frame.command in set(Command)
    return {
        "seq": frame.serial_number,
        "cmd": frame.command,
        "command": Command(frame.command).name.lower() if is_known else "user_defined",
        "main_version": frame.main_version,
        "user_version": frame.user_version,
        "sent": _describe_time(decode_time(frame.sent_at)),
        "src": frame.source,
        "dst": frame.destination,
        "adu_len": len(frame.data_unit),
    }


def _describe_unit(unit: DataUnit) -> JsonObject:
    described: JsonObject = {"type": unit.type, "count": unit.count}
    if unit.type in set(UnitType):
        described["type_name"] = UnitType(unit.type).name.lower()
    described["objects"] = [_describe_object(unit.type, one) for one in unit.objects]
    if unit.extra:
        described["extra"] = unit.extra.hex()
    return described


def _describe_object(kind: int, one: Mapping[str, Content]) -> JsonObject:
    described: JsonObject = {name: content for name, content in one.items() if name not in {"time_ns", "text"}}
    if "text" in one:
        described["description"] = one["text"]
    if "time_ns" in one:
        time_ns = one["time_ns"]
        described["time"] = _describe_time(time_ns if isinstance(time_ns, int) else None)
    words = _WORDS.get(kind)
    if words is not None:
        name, names = words
        described[f"{name}_words"] = words_of(int(one[name] or 0), names)
    if kind == UnitType.ANALOGUE_VALUE:
        described |= _describe_analogue(int(one["analogue_type"] or 0), int(one["count"] or 0))
    return described


_WORDS: Final[Mapping[int, tuple[str, tuple[str, ...]]]] = {
    UnitType.SYSTEM_STATE: ("state", STATE_WORDS),
    UnitType.COMPONENT_STATE: ("state", STATE_WORDS),
    UnitType.TRANSMITTER_STATE: ("state", TRANSMITTER_WORDS),
    UnitType.SYSTEM_OPERATION: ("operation", SYSTEM_OPERATION_WORDS),
    UnitType.TRANSMITTER_OPERATION: ("operation", TRANSMITTER_OPERATION_WORDS),
}
"""By type: which part is a set of bits, and their names."""


def _describe_analogue(kind: int, count: int) -> JsonObject:
    row = ANALOGUE_TYPES.get(kind)
    if row is None:
        return {"analogue": "not defined by the standard"}
    return {"analogue": row.title, "number": count / row.counts_per_unit, "unit": row.unit}


def _describe_time(time_ns: int | None) -> str | None:
    return None if time_ns is None else format_china_time(time_ns)
