"""HJ 212-2017: published frames, fed in every way; segments, reports, units, flags and times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from edge_agent.commands.decoded import DecodedFrame, Rejected
from edge_agent.hj212.hj212_decode import build_decoder
from edge_agent.hj212.hj212_factor import DOUBTFUL, FACTORS, convert
from edge_agent.hj212.hj212_frame import compute_crc, encode_frame, segment_of
from edge_agent.hj212.hj212_packets import PATIENCE_S, PacketAssembly
from edge_agent.hj212.hj212_report import Statistic, judge_flag, read_report
from edge_agent.hj212.hj212_request import DATA_ANSWER, encode_answer
from edge_agent.hj212.hj212_segment import SegmentError, format_time, parse_groups, parse_segment, parse_time
from simulators.hj212_frame import compute_check, make_frame

VECTORS = json.loads((Path(__file__).parents[2] / "golden/edge_hj212/frames.json").read_text())["vectors"]
GOOD = [row for row in VECTORS if row["valid"]]
BAD = [row for row in VECTORS if not row["valid"]]
GARBAGE = b"\x00#1\r\n##01\xff"
each_good = pytest.mark.parametrize("row", GOOD, ids=[row["id"] for row in GOOD])
each_bad = pytest.mark.parametrize("row", BAD, ids=[row["id"] for row in BAD])


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
        ([GARBAGE, frame[:30], frame[30:], frame, GARBAGE], 2),
    ]


@each_good
def test_every_published_frame_decodes_however_it_arrives(row):
    for pieces, count in ways_of(row["frame"].encode()):
        frames = [one for one in decode(*pieces) if isinstance(one, DecodedFrame)]
        assert len(frames) == count
        for frame in frames:
            for key, wanted in (row["expected"] or {}).items():
                told = {**frame.info, **{k.removesuffix("-Rtd"): v for k, v in frame.info["CP"].items()}}[key]
                assert told == wanted if isinstance(wanted, str | dict) else float(told) == wanted


@each_bad
def test_every_published_reject_is_refused_with_its_reason_and_hides_nothing_behind_it(row):
    frame, good = row["frame"].encode(), GOOD[0]["frame"].encode()
    for pieces, count in ways_of(frame):
        rejects = [one for one in decode(*pieces) if one.octets == frame]
        assert [one.reason for one in rejects] == [Reason.CRC_ERROR] * count
        assert f"the CRC is {row['declared_crc']}, not {row['computed_crc']}" in rejects[0].detail
    assert [one.octets for one in decode(frame + good) if isinstance(one, DecodedFrame)] == [good]


def test_the_modbus_crc_is_refused_under_its_name():
    (reject,) = decode(BAD[0]["frame"].encode())
    assert "CRC of Modbus" in reject.detail


def test_real_time_values_come_with_quantity_unit_and_the_stations_time():
    (frame,) = decode(next(row["frame"] for row in GOOD if row["id"] == "fox-6E80").encode())
    assert {one.quantity: one.value for one in frame.readings} == {
        "water_flow": 181.682,
        "total_nitrogen": 45.16,
        "total_phosphorus": 1.97,
        "ammonia_nitrogen": 53.131,
        "chemical_oxygen_demand": 194.2,
        "ph": 7.496,
    }
    assert {one.time for one in frame.readings} == {"2021-03-20T01:34:00+08:00"}


def test_places_of_a_station_are_unknown_factors_and_are_told():
    (frame,) = decode(next(row["frame"] for row in GOOD if row["id"] == "air-9241").encode())
    assert frame.info["unknown_factors"]["l01001-Rtd"] == "119.90287"
    assert {one.quantity: one.value for one in frame.readings}["sulfur_dioxide"] == 22.25


def test_emission_sends_milligrams_and_ambient_air_micrograms():
    groups = parse_groups("DataTime=20260504132000;a21026-Rtd=35.5,a21026-Flag=N")
    assert [one.value for one in read_report(groups, "31").readings] == [35_500.0]
    assert [one.value for one in read_report(groups, "22").readings] == [35.5]


@pytest.mark.parametrize(
    ("letter", "reason"),
    [
        ("N", Reason.OK),
        ("n", Reason.OK),
        ("F", Reason.INHIBITED),
        ("M", Reason.INHIBITED),
        ("S", Reason.INHIBITED),
        ("D", Reason.DEVICE_FAULT),
        ("C", Reason.CALIBRATION),
        ("T", Reason.OUT_OF_RANGE),
        ("B", Reason.NO_ANSWER),
        ("?", Reason.DEVICE_FAULT),
    ],
)
def test_a_data_flag_is_a_quality(letter, reason):
    assert judge_flag(letter) is reason
    (reading,) = read_report(parse_groups(f"w01018-Flag={letter},w01018-Rtd=12.5"), "32").readings
    assert (reading.value, reading.reason) == (12.5, reason)


@pytest.mark.parametrize(
    ("text", "flag", "value", "reason"),
    [
        ("", "D", None, Reason.DEVICE_FAULT),
        ("---", "N", None, Reason.NOT_A_NUMBER),
        ("nan", "N", None, Reason.NOT_A_NUMBER),
        ("1_0", "N", None, Reason.NOT_A_NUMBER),
        ("１", "N", None, Reason.NOT_A_NUMBER),
        ("-3", "N", -3.0, Reason.OUT_OF_RANGE),
        ("1e400", "N", None, Reason.NOT_A_NUMBER),
    ],
)
def test_what_is_no_number_is_no_value_and_never_a_zero(text, flag, value, reason):
    (reading,) = read_report(parse_groups(f"w01018-Rtd={text},w01018-Flag={flag}"), "32").readings
    assert (reading.value, reading.reason) == (value, reason)


def test_all_five_statistics_are_told_apart_and_totals_have_their_own_unit():
    groups = parse_groups(
        "DataTime=20260504130000;w01018-Cou=1.5,w01018-Min=1,w01018-Avg=2,w01018-Max=3,w01018-Flag=N;w00000-Cou=80"
    )
    readings = {(one.quantity, one.statistic): one.value for one in read_report(groups, "32").readings}
    assert readings == {
        ("discharged_mass", Statistic.COU): 1.5,
        ("chemical_oxygen_demand", Statistic.MIN): 1.0,
        ("chemical_oxygen_demand", Statistic.AVG): 2.0,
        ("chemical_oxygen_demand", Statistic.MAX): 3.0,
        ("water_volume", Statistic.COU): 80.0,
    }


def test_every_factor_has_a_quantity_of_the_table_and_a_unit():
    for code, factor in FACTORS.items():
        assert factor.code == code
        assert factor.quantity in QUANTITIES
        assert factor.total_quantity is None or factor.total_quantity in QUANTITIES
        if factor.factor == 1.0:
            assert factor.unit == QUANTITIES[factor.quantity].unit, code


def test_converted_values_are_statistics_of_their_own():
    groups = parse_groups("a34013-Rtd=20,a34013-ZsRtd=31.5,a34013-Flag=N,a34013-EFlag=A01,a34013-SampleTime=1")
    report = read_report(groups, "31")
    assert {one.statistic: one.value for one in report.readings} == {Statistic.RTD: 20.0, Statistic.ZS_RTD: 31.5}
    assert report.unknown == {}


def test_a_total_of_micrograms_is_counted_in_grams_and_told_in_kilograms():
    (reading,) = read_report(parse_groups("w20120-Cou=250,w20120-Flag=N"), "32").readings
    assert (reading.quantity, reading.value) == ("discharged_mass", 0.25)


def test_a_factor_whose_unit_the_annex_misprints_is_not_guessed():
    report = read_report(parse_groups("a21001-Rtd=3.5,a21001-Flag=N"), "31")
    assert report.readings == []
    assert report.unknown["a21001-Rtd"] == "3.5"
    (kept,) = report.under_code
    assert kept.in_unit("ug/m3", DOUBTFUL["a21001"]) == (0.0035, Reason.OK)


@pytest.mark.parametrize(
    ("unit", "into", "number"),
    [
        ("ug/L", "mg/L", 0.001),
        ("mg/m3", "ug/m3", 1e3),
        ("L/s", "m3/h", 3.6),
        ("kPa", "kPa", 1.0),
        ("mg/L", "m", None),
    ],
)
def test_a_number_in_another_unit(unit, into, number):
    assert convert(1.0, unit, into) == number


def test_all_codes_of_water_and_gas_of_both_transcriptions_are_known_with_their_unit():
    codes = json.loads((Path(__file__).parents[2] / "golden/edge_hj212/annex_b.json").read_text())["units"]
    assert codes.keys() | {"a05024"} == {code for code in [*FACTORS, *DOUBTFUL] if code[0] in "wa"}, "and ozone"
    said_here = {"a34001", "a34002", "a34004", "a34005"}
    for code, unit in codes.items():
        if code not in DOUBTFUL and code not in said_here:
            assert FACTORS[code].unit == unit, code


def test_times_are_chinas_and_impossible_ones_are_none():
    assert parse_time("19700101080000") == 0
    assert parse_time("20260504132059123") == 1_777_872_059_123_000_000
    assert format_time(1_777_872_059_123_000_000, has_milliseconds=True) == "20260504132059123"
    for text in ("20260231000000", "2026", "", "20260504132059x", "００００００００００００００"):
        assert parse_time(text) is None


@pytest.mark.parametrize(
    ("segment", "named"),
    [
        (b"CN=2011;MN=1", "no CP="),
        (b"CN=2011;CP=&&a=1", "do not end with &&"),
        (b"CN=2011;CP=&&a=1&&;x", "do not end with &&"),
        (b"CN=20;CP=&&&&", "CN='20'"),
        (b"MN=1;CP=&&&&", "CN=''"),
        (b"CN=2011;CN=2051;CP=&&&&", "stands there twice"),
        (b"CN=2011;Flag=x;CP=&&&&", "Flag='x'"),
        (b"CN=2011;QN=1;CP=&&&&", "QN='1'"),
        (b"CN=2011;junk;CP=&&&&", "'junk' is no field"),
        (b"CN=2011;Flag=6;PNUM=2;PNO=3;CP=&&&&", "PNO='3' of PNUM='2'"),
        (b"CN=2011;Flag=6;PNUM=2;CP=&&&&", "PNO=None of PNUM='2'"),
        (b"CN=2011;ST=123456789;CP=&&&&", "ST='123456789'"),
        ("CN=2011;Flag=²;CP=&&&&".encode("gb18030"), "not ASCII"),
        ("CN=2011;PW=密码;CP=&&&&".encode("gb18030"), "not ASCII"),
    ],
)
def test_a_segment_that_is_none_is_refused_by_field_and_value(segment, named):
    with pytest.raises(SegmentError, match=None) as caught:
        parse_segment(segment)
    assert named in str(caught.value)
    (found,) = decode(encode_frame(segment))
    assert isinstance(found, Rejected)
    assert found.reason is Reason.MALFORMED_FRAME


def test_a_declared_length_that_is_not_the_true_one_is_named_in_both_directions():
    frame = GOOD[0]["frame"].encode()
    for wrong in (b"%04d" % (int(frame[2:6]) + 3), b"%04d" % (int(frame[2:6]) - 3), b"1025"):
        found = decode(frame[:2] + wrong + frame[6:], frame)
        assert [one.octets for one in found if isinstance(one, DecodedFrame)] == [frame]
        assert b"".join(one.octets for one in found) == frame[:2] + wrong + frame[6:] + frame
        assert found[0].reason is Reason.MALFORMED_FRAME
        assert wrong.decode().lstrip("0") in found[0].detail


def test_the_answer_to_data_is_byte_for_byte_the_published_one():
    to = parse_segment(b"QN=20160801085000001;ST=32;CN=2011;PW=123456;MN=010000A8900016F000169DC0;Flag=5;CP=&&&&")
    published = b"##0087QN=20160801085000001;ST=91;CN=9014;PW=123456;MN=010000A8900016F000169DC0;Flag=4;CP=&&&&C241\r\n"
    assert (
        encode_answer(DATA_ANSWER, to) == published
    )  # printed by alltobs-hj212's own test, find_string id 19275668249


def test_the_codec_agrees_with_the_simulators_on_every_length():
    for length in range(200):
        text = "CN=2011;x=" + "y" * length
        assert f"{compute_crc(text.encode()):04X}" == compute_check(text)
    frame = make_frame({"CN": "2011"}, "a=1")
    assert encode_frame(segment_of(frame)) == frame
    with pytest.raises(ValueError, match="1025 bytes is longer than 1024"):
        encode_frame(bytes(1025))


def packet(number: int, count: int, parameters: str, mn: str = "M1"):
    return parse_segment(f"CN=2011;MN={mn};Flag=6;PNUM={count};PNO={number};CP=&&{parameters}&&".encode())


def test_packets_are_put_together_in_any_order_and_twice():
    assembly = PacketAssembly()
    assert assembly.add(packet(2, 3, "b-Rtd=2"), 0.0) == (None, [])
    assert assembly.add(packet(2, 3, "b-Rtd=2"), 0.1) == (None, [])
    assert assembly.add(packet(1, 3, "DataTime=20260504132000;a-Rtd=1"), 0.2) == (None, [])
    whole, lost = assembly.add(packet(3, 3, "c-Rtd=3"), 0.3)
    assert whole.parameters == "DataTime=20260504132000;a-Rtd=1;b-Rtd=2;c-Rtd=3"
    assert lost == []
    assert assembly.tick(PATIENCE_S * 2) == []


def test_packets_of_two_stations_do_not_mix_and_an_unfinished_message_is_given_up_aloud():
    assembly = PacketAssembly()
    assembly.add(packet(1, 2, "a=1"), 0.0)
    assert assembly.add(packet(2, 2, "b=1", mn="M2"), 1.0) == (None, [])
    assert assembly.tick(PATIENCE_S - 0.1) == []
    assert assembly.tick(PATIENCE_S) == [f"mn=M1 cn=2011 packets=1 of=2 why='after {PATIENCE_S:g} s'"]
    _, lost = assembly.add(packet(2, 2, "other", mn="M2"), PATIENCE_S)
    assert "another message began" in lost[0]


def test_unfinished_messages_are_bounded():
    assembly = PacketAssembly()
    lost = [text for number in range(100) for text in assembly.add(packet(1, 2, "a=1", mn=f"M{number}"), 0.0)[1]]
    assert len(lost) == 84
    assert len(assembly._messages) == 16
