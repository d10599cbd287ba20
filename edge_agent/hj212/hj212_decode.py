"""`decode --device hj212`: every frame of a stream with what it says, whoever sent it. Pure.

No configuration is known here: passwords and device numbers are shown and not judged.
"""

from __future__ import annotations

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
from edge_agent.hj212.hj212_frame import build_search, segment_of
from edge_agent.hj212.hj212_report import PERIODS, Report, Statistic, read_report
from edge_agent.hj212.hj212_segment import Segment, SegmentError, parse_segment, parse_time
from edge_agent.lines.local_time import format_china_time

TITLE: Final = "HJ 212-2017: data transmission of pollution sources and environmental stations"


def build_decoder() -> Decoder:
    """Of one direction of one stream."""
    return SearchReader(build_search(), _decode)


def hj212_decoders() -> OneWayDecoders:
    """For the registry of decoders."""
    return OneWayDecoders(TITLE, build_decoder)


def _decode(found: FoundFrame) -> Decoded:
    try:
        segment = parse_segment(segment_of(found.octets))
    except SegmentError as error:
        return Rejected(found.offset, found.octets, Reason.MALFORMED_FRAME, str(error))
    report = read_report(segment.groups(), segment.fields.get("ST", "")) if segment.command in PERIODS else None
    readings = [] if report is None else _readings(report)
    return DecodedFrame(found.offset, found.octets, readings, _describe(segment, report))


def _readings(report: Report) -> list[DecodedReading]:
    time = None if report.data_time_ns is None else format_china_time(report.data_time_ns)
    return [DecodedReading(one.quantity, one.value, one.reason, time=time) for one in report.readings]


def _describe(segment: Segment, report: Report | None) -> JsonObject:
    described: JsonObject = dict(segment.fields)
    described["CP"] = {key: content for group in segment.groups() for key, content in group}
    number = parse_time(segment.fields.get("QN", ""))
    if number is not None:
        described["sent"] = format_china_time(number)
    if report is not None:
        described["period"] = PERIODS[segment.command].value
        described["statistics"] = [_label(one.code, one.statistic) for one in report.readings]
        described["unknown_factors"] = report.unknown
    return described


def _label(code: str, statistic: Statistic) -> str:
    return f"{code}-{statistic.suffix}"
