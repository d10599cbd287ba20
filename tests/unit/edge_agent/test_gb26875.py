"""GB/T 26875.3-2011: published frames, fed in every way; every type of data unit; states, analogue values and times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from edge_agent.commands.decoded import DecodedFrame, Rejected, describe_decoded
from edge_agent.gb26875.gb26875_channel import (
    ANALOGUE_TYPES,
    COMPONENT_QUANTITIES,
    SYSTEM_QUANTITIES,
    TRANSMITTER_QUANTITIES,
)
from edge_agent.gb26875.gb26875_data import (
    LAYOUTS,
    DataUnitError,
    UnitType,
    decode_data_unit,
    decode_time,
    encode_data_unit,
    encode_time,
)
from edge_agent.gb26875.gb26875_decode import build_decoder
from edge_agent.gb26875.gb26875_frame import Command, Frame, build_search, decode_frame, encode_frame
from edge_agent.gb26875.gb26875_report import read_data_unit
from simulators.gb26875_frame import (
    make_analogue,
    make_component_state,
    make_frame,
    make_time,
    make_transmitter_state,
)

VECTORS = json.loads((Path(__file__).parents[2] / "golden/edge_gb26875/frames.json").read_text())["vectors"]
GOOD = [row for row in VECTORS if row["valid"]]
BAD = [row for row in VECTORS if not row["valid"]]
GARBAGE = b"\x00@\x23\x23@@\x07"
WHEN = "2026-05-04 13:20:59"
WHEN_NS = 1_777_872_059 * 10**9
NAMES = {
    "system_addr": "system_address",
    "component_addr_le": "component_address",
    "description_gb18030": "description",
}


def decode(*pieces: bytes) -> list:
    decoder = build_decoder()
    return [found for piece in pieces for found in decoder.feed(piece)] + decoder.finish()


def ways_of(frame: bytes) -> list[tuple[list[bytes], int]]:
    return [
        ([frame], 1),
        ([bytes([octet]) for octet in frame], 1),
        ([GARBAGE + frame], 1),
        ([frame + GARBAGE + frame], 2),
        ([frame, GARBAGE], 1),
        ([GARBAGE, frame[:11], frame[11:], frame, GARBAGE], 2),
    ]


def told(info: dict, key: str) -> object:
    first = info["objects"][0] if info.get("objects") else {}
    return info.get(key, first.get(NAMES.get(key, key)))


@pytest.mark.parametrize("row", GOOD, ids=[row["id"] for row in GOOD])
def test_every_published_frame_decodes_to_its_published_content_however_it_arrives(row):
    derived = {"fire", "time", "time_bytes_s_m_h_d_mo_y", "src_wire", "dst_wire", "adu"}
    for pieces, count in ways_of(bytes.fromhex(row["frame_hex"])):
        frames = [one for one in decode(*pieces) if isinstance(one, DecodedFrame)]
        assert len(frames) == count
        for frame in frames:
            expected = {**row["expected"], **row["expected"].get("adu", {})}
            for key in expected.keys() - derived:
                assert told(frame.info, key) == expected[key], key
            json.dumps(describe_decoded(frame, "gb26875_3"))


def test_the_published_fire_alarm_is_a_fire_alarm_with_its_text_and_time():
    row = next(row for row in GOOD if row["id"] == "type2-fire-GBK")
    (frame,) = decode(bytes.fromhex(row["frame_hex"]))
    alarm = next(one for one in frame.readings if one.quantity == "fire_alarm")
    assert (alarm.value, alarm.reason, alarm.time) == (1.0, Reason.OK, "2020-08-01T19:18:48+08:00")
    (place,) = frame.info["objects"]
    assert place["description"] == "Ａ区１层呷哺走廊"
    assert place["state_words"] == ["fire"]


def test_the_published_addresses_and_times_are_low_byte_first_and_plain_binary():
    row = next(row for row in GOOD if row["id"] == "case1-uplink-type25")
    (frame,) = decode(bytes.fromhex(row["frame_hex"]))
    assert frame.info["src"].to_bytes(6, "little").hex().upper() == row["expected"]["src_wire"]
    assert frame.info["sent"] == "2021-12-08T22:30:01+08:00"


@pytest.mark.parametrize("row", BAD, ids=[row["id"] for row in BAD])
def test_every_published_reject_is_refused_with_its_reason_and_hides_nothing_behind_it(row):
    frame, good = bytes.fromhex(row["frame_hex"]), bytes.fromhex(GOOD[0]["frame_hex"])
    for pieces, count in ways_of(frame):
        rejects = [one for one in decode(*pieces) if one.octets == frame]
        assert [one.reason for one in rejects] == [Reason.CRC_ERROR] * count
        assert rejects[0].detail == f"the checksum is {row['checksum']:02X}, not {row['computed_checksum']:02X}"
    assert [one.octets for one in decode(frame + good) if isinstance(one, DecodedFrame)] == [good]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda frame: frame[:24] + b"\x01\x04" + frame[26:], "length 1025 is more than 1024"),
        (lambda frame: frame[:-2] + b"#!", "2321 stands where"),
        (lambda frame: frame[:-1], "truncated: ends after"),
        (lambda frame: b"#" + frame[1:], "no frame begins here"),
    ],
)
def test_what_is_no_frame_is_malformed_and_says_why(change, named):
    frame = make_frame(7, Command.SEND, make_transmitter_state(1, WHEN), source=9, sent=WHEN)
    found = decode(change(frame))
    assert all(isinstance(one, Rejected) and one.reason is Reason.MALFORMED_FRAME for one in found)
    assert any(named in one.detail for one in found), found


def test_a_command_that_the_standard_reserves_is_refused_whole_and_a_users_own_is_a_frame():
    (found,) = decode(make_frame(7, 99, b"", source=9, sent=WHEN))
    assert isinstance(found, Rejected)
    assert "command 99 is not one of" in found.detail
    (found,) = decode(make_frame(7, 200, b"\x80\x01\x55", source=9, sent=WHEN))
    assert (found.info["command"], found.info["extra"]) == ("user_defined", "55")


def test_frames_agree_with_the_simulators():
    octets = make_frame(513, Command.SEND, b"\x15\x01", source=0x0102030405, sent=WHEN, destination=77)
    frame = Frame(513, 2, b"\x15\x01", 0x0102030405, 77, make_time(WHEN), 1, 1)
    assert encode_frame(frame) == octets
    assert decode_frame(octets) == frame
    with pytest.raises(ValueError, match="1025 bytes is longer"):
        encode_frame(Frame(0, 2, bytes(1025)))


OBJECT = {
    "system_type": 1,
    "system_address": 2,
    "component_type": 40,
    "component_address": 0x01020304,
    "state": 0x0102,
    "analogue_type": 3,
    "count": -55,
    "operation": 4,
    "operator": 17,
    "major": 3,
    "minor": 9,
    "records": 5,
    "answer_min": 10,
    "reserved": 0,
    "text": "１号楼走廊",
    "time_ns": WHEN_NS,
}
BYTES = {
    # by type, from the figures of the standard
    1: "0102 0201",
    2: "0102 28 04030201 0201" + "１号楼走廊".encode("gb18030").ljust(31, b"\0").hex(),
    3: "0102 28 04030201 03 c9ff",
    4: "0102 04 11",
    5: "0102 03 09",
    6: "0102 0a" + "１号楼走廊".encode("gb18030").hex(),
    7: "0102 28 04030201" + "１号楼走廊".encode("gb18030").ljust(31, b"\0").hex(),
    8: "0102",
    21: "02",
    24: "04 11",
    25: "03 09",
    26: "0a" + "１号楼走廊".encode("gb18030").hex(),
    28: "",
    61: "0102",
    62: "0102 04030201",
    63: "0102 04030201",
    64: "0102 05",
    65: "0102",
    66: "0102",
    67: "0102 04030201",
    68: "0102",
    81: "00",
    84: "05",
    85: "00",
    86: "00",
    88: "00",
    89: "00",
    90: "",
    91: "0a",
}
TIMED = {1, 2, 3, 4, 8, 21, 24, 28, 64, 84, 90}


@pytest.mark.parametrize("kind", UnitType, ids=lambda kind: f"{int(kind)}-{kind.name.lower()}")
def test_every_type_of_the_standard_is_read_and_written_as_its_figure_says(kind):
    layout = LAYOUTS[kind]
    one = dict(OBJECT, state=2) if kind is UnitType.TRANSMITTER_STATE else OBJECT
    count = min(2, layout.count_max)
    octets = bytes((kind, count)) + (bytes.fromhex(BYTES[kind]) + make_time(WHEN) * (kind in TIMED)) * count
    unit = decode_data_unit(octets)
    names = [*layout.names, *["text"] * layout.has_text, *["time_ns"] * layout.has_time]
    assert list(unit.objects) == [{name: one[name] for name in names}] * count
    assert unit.extra == b""
    assert encode_data_unit(kind, [one] * count) == octets
    for cut in range(2, len(octets)):
        with pytest.raises(DataUnitError, match=f"type {int(kind)} ends in object"):
            decode_data_unit(octets[:cut])
    assert decode_data_unit(octets + b"\x01\x02").extra in {b"\x01\x02", b""}, "only type 2 knows a longer object"


@pytest.mark.parametrize(("kind", "count"), [(1, 103), (2, 23), (3, 64), (6, 4), (21, 2), (24, 128)])
def test_more_objects_than_the_standard_allows_are_refused(kind, count):
    with pytest.raises(DataUnitError, match=f"type {kind} has {count} objects, more than {count - 1}"):
        decode_data_unit(bytes((kind, count)) + bytes(5000))
    with pytest.raises(ValueError, match=f"more than {count - 1}"):
        encode_data_unit(UnitType(kind), [OBJECT] * count)


def test_the_largest_data_units_fit_into_a_frame():
    for kind, layout in LAYOUTS.items():
        if not layout.has_text:
            assert 2 + layout.count_max * layout.size <= 1024, kind


def test_times_that_do_not_exist_are_none_and_the_others_go_both_ways():
    assert decode_time(encode_time(WHEN_NS)) == WHEN_NS
    assert decode_time(bytes(6)) is None
    assert decode_time(bytes((60, 0, 0, 1, 1, 20))) is None
    assert encode_time(0) == bytes((0, 0, 0, 1, 1, 0)), "a gateway whose clock was never set"


def test_a_text_that_is_no_gb_18030_loses_no_state():
    octets = make_component_state((1, 1), 40, 5, 3, "", WHEN)
    octets = octets[:11] + b"\xff\xfe\x81" + octets[14:]
    (one,) = decode_data_unit(octets).objects
    assert one["state"] == 3
    assert "\ufffd" in str(one["text"])


@pytest.mark.parametrize(
    ("state", "value", "reason"),
    [
        (0b1, 0.0, Reason.OK),
        (0b11, 1.0, Reason.OK),
        (0b10, 1.0, Reason.OK),
        (0b111, 1.0, Reason.OK),
        (0b101, 0.0, Reason.DEVICE_FAULT),
        (0b1_0000_0001, 0.0, Reason.DEVICE_FAULT),
        (0b1001, 0.0, Reason.INHIBITED),
        (0b1011, 1.0, Reason.INHIBITED),
        (0b0, 0.0, Reason.INHIBITED),
    ],
)
def test_an_alarm_is_doubted_only_if_its_place_is_shielded_and_no_alarm_only_if_it_is_well(state, value, reason):
    unit = decode_data_unit(make_component_state((1, 1), 40, 5, state, "", WHEN))
    (alarm,) = [one for one in read_data_unit(unit) if one.quantity == "fire_alarm"]
    assert (alarm.place, alarm.value, alarm.reason, alarm.time_ns) == ((1, 1, 5), value, reason, WHEN_NS)


@pytest.mark.parametrize(
    ("kind", "count", "quantity", "value", "reason"),
    [
        (1, 7, "event_count", 7.0, Reason.OK),
        (2, 12_345, "level", 123.45, Reason.OUT_OF_RANGE),
        (2, 345, "level", 3.45, Reason.OK),
        (3, -125, "temperature", -12.5, Reason.OK),
        (3, -2731, "temperature", -273.1, Reason.OUT_OF_RANGE),
        (4, 6, "pressure", 600.0, Reason.OK),
        (5, 1013, "pressure", 101.3, Reason.OK),
        (6, 253, "combustible_gas", 25.3, Reason.OK),
        (6, 1001, "combustible_gas", 100.1, Reason.OUT_OF_RANGE),
        (7, 60, "duration", 60.0, Reason.OK),
        (8, 2205, "voltage", 220.5, Reason.OK),
        (9, 15, "current", 1.5, Reason.OK),
        (10, 123, "water_flow", 12.3, Reason.OK),
        (11, 10, "flow", 60.0, Reason.OK),
        (12, 21, "wind_speed", 21.0, Reason.OUT_OF_RANGE),
    ],
)
def test_an_analogue_value_has_the_standards_step_unit_and_range(kind, count, quantity, value, reason):
    (one,) = read_data_unit(decode_data_unit(make_analogue((1, 1), 10, 5, kind, count, WHEN)))
    assert (one.quantity, one.reason) == (quantity, reason)
    assert one.value == pytest.approx(value)


def test_analogue_types_that_the_standard_leaves_open_are_told_and_not_guessed():
    (frame,) = decode(make_frame(1, 2, make_analogue((1, 1), 10, 5, 200, 17, WHEN), source=9, sent=WHEN))
    assert frame.readings == []
    assert frame.info["objects"][0]["analogue"] == "not defined by the standard"


def test_all_quantities_are_in_the_table():
    for name in (*TRANSMITTER_QUANTITIES, *SYSTEM_QUANTITIES, *COMPONENT_QUANTITIES):
        assert name in QUANTITIES
    for row in ANALOGUE_TYPES.values():
        if row.factor == 1.0:
            assert row.unit == QUANTITIES[row.quantity].unit or row.quantity == "event_count"


def test_a_search_never_waits_for_more_than_one_frame():
    search = build_search()
    search.feed(b"@@" + bytes(22) + b"\x00\x04" + bytes(1027))
    assert search.is_in_frame
    search.feed(bytes(10))
    assert not search.is_in_frame
