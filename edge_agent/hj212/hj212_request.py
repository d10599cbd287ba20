"""What a centre may ask of an HJ 212-2017 station, and how it answers one (annex C of the standard). Pure.

    1000  OverTime, ReCount
    1011  read, 1012  set SystemTime      1061  read, 1062  set RtdInterval (s)
                                          1063  read, 1064  set MinInterval (min)
    2011  begin, 2012  end real-time data
    2031 2051 2061  day, minute, hour data from BeginTime to EndTime

A request is answered by 9011 (QnRtn: 1 accepted), carried out, and ended by 9012 (ExeRtn: 1 done), but for 2011, which
ends with 9011: its data have no end. What is read comes between the two, in a segment of the same command (published
exchange: 1061, 9011, `CN=1061;…CP=&&…RtdInterval=30&&`, 9012; find_string id 9589335852; 1011 with `SystemTime`, id
34443941012). A notice (2012) is answered by 9013 alone. Data that want an answer get 9014, a notice of the station gets
9013, both with its number. Commands are those of shared/standards/fields.md 1.8; the answers' ST and Flag are as in the
published frame `QN=20160801085000001;ST=91;CN=9014;…;Flag=4;CP=&&&&` with CRC C241 (find_string id 19275668249).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge_agent.hj212.hj212_frame import encode_frame
from edge_agent.hj212.hj212_segment import (
    FLAG_ANSWER,
    FLAG_VERSION_2017,
    SYSTEM_INTERACTION,
    Segment,
    encode_segment,
    format_time,
)

SET_TIMEOUTS: Final = "1000"
READ_CLOCK: Final = "1011"
SET_CLOCK: Final = "1012"
CLOCK_WANTED: Final = "1013"
"""A station's notice that its clock should be set."""
READ_REALTIME_INTERVAL: Final = "1061"
SET_REALTIME_INTERVAL: Final = "1062"
READ_MINUTE_INTERVAL: Final = "1063"
SET_MINUTE_INTERVAL: Final = "1064"
READ_SETTINGS: Final = (READ_CLOCK, READ_REALTIME_INTERVAL, READ_MINUTE_INTERVAL)
"""What a station says of itself when it is asked."""
BEGIN_REALTIME: Final = "2011"
END_REALTIME: Final = "2012"
REQUEST_ANSWER: Final = "9011"
RESULT: Final = "9012"
NOTICE_ANSWER: Final = "9013"
DATA_ANSWER: Final = "9014"
ANSWERS: Final = frozenset({REQUEST_ANSWER, RESULT, NOTICE_ANSWER, DATA_ANSWER})

ACCEPTED: Final = "1"
DONE: Final = "1"


def encode_answer(command: str, to: Segment) -> bytes:
    """The frame that answers a station's data (9014) or notice (9013)."""
    fields = {
        "QN": to.fields["QN"],
        "ST": SYSTEM_INTERACTION,
        "CN": command,
        "PW": to.fields.get("PW", ""),
        "MN": to.device,
        "Flag": FLAG_VERSION_2017,
    }
    return encode_frame(encode_segment(fields))


def encode_request(
    number: str, command: str, parameters: Mapping[str, object], *, system: str, password: str, device: str
) -> bytes:
    """The frame of a request.

    Args:
        number: QN.
        command: CN.
        parameters: of CP.
        system: ST of the station.
        password: PW.
        device: MN.
    """
    fields = {
        "QN": number,
        "ST": system,
        "CN": command,
        "PW": password,
        "MN": device,
        "Flag": FLAG_VERSION_2017 | FLAG_ANSWER,
    }
    joined = ";".join(f"{name}={content}" for name, content in parameters.items())
    return encode_frame(encode_segment(fields, joined))


def clock_parameters(wall_ns: int) -> dict[str, object]:
    """Of SET_CLOCK."""
    return {"SystemTime": format_time(wall_ns)}


def history_parameters(begin_ns: int, end_ns: int) -> dict[str, object]:
    """Of a request for day, minute or hour data, both ends included."""
    return {"BeginTime": format_time(begin_ns), "EndTime": format_time(end_ns)}
