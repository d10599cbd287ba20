"""The frame language: sensors that are in no vector, described by a data file alone; and faults of such files."""

from __future__ import annotations

import struct

import pytest

from contracts.errors import ConfigurationError
from contracts.quality import Reason
from edge_agent.commands.decoded import DecodedFrame, Rejected
from edge_agent.frames.frame_answer import AnswerWatch, judge_rejects, read_answer
from edge_agent.frames.frame_decoder import FrameDecoder
from edge_agent.settings.load_profiles import load_profiles
from edge_agent.settings.profile import parse_profile

HEAD = 'protocol = "serial_frame"\ntitle = "T"\nsource = "written for this test"\n'

CUBIC_CM1106 = (
    HEAD
    + """
question_hex = "11 01 01 ED"

[[frame]]
kind = "bytes"
name = "answer"
start_hex = "16"
length_field = { offset = 1, type = "u8", adjustment = 3 }
max_length = 32
checksum = { kind = "sum8_negated", first = 0, last = -2, at = -1 }
constant = [{ offset = 1, hex = "05 01" }]

[[channel]]
quantity = "carbon_dioxide"
field = { offset = 3 }
range = [0, 5000]

[[state]]
field = { offset = 5, type = "u8" }
rule = [
    { mask = 0x01, any_bit = true, reason = "warm_up" },
    { mask = 0x02, any_bit = true, reason = "device_fault" },
]
"""
)
"""Cubic CM1106 (data sheet: 16 05 01 DF1 DF2 DF3 DF4 CS, CO2 = DF1*256 + DF2)."""

GILL_WINDSONIC = (
    HEAD
    + r"""
[[frame]]
kind = "line"
name = "polar, continuous"
start = '\x02[A-Z],'
start_max = 3
end = '\x03[0-9A-Fa-f]{2}'
control_characters = "\u0002\u0003"
trailer = 4
checksum = { kind = "xor8", first = 1, last = -4, at = -2, encoding = "hex" }

[[channel]]
quantity = "wind_direction"
part = { position = 0 }

[[channel]]
quantity = "wind_speed"
part = { position = 1, unit_position = 2, units = { M = {}, N = { multiplier = 1852, divisor = 3600 } } }

[[flag]]
part = { position = 3 }
good = ["00"]
"""
)
"""Gill WindSonic (user manual, section 9: <STX>Q,229,002.74,M,00,<ETX>16)."""

STUFFED = (
    HEAD
    + """
[[frame]]
kind = "bytes"
name = "values"
start_hex = "C0"
end_hex = "C0"
max_length = 64
constant = [{ offset = 1, hex = "01" }]
[frame.checksum]
kind = "crc16"
polynomial = 0x8005
initial = 0xFFFF
reflected = true
byte_order = "little"
first = 1
last = -4
at = -3
[frame.stuffing]
escape = "DB"
stand_ins = { DC = "C0", DD = "DB" }

[[frame]]
kind = "bytes"
name = "error"
start_hex = "C0"
end_hex = "C0"
max_length = 64
constant = [{ offset = 1, hex = "FF" }]
meaning = { reason = "device_fault", text = "the sensor says an error", rejects = true }
stuffing = { escape = "DB", stand_ins = { DC = "C0", DD = "DB" } }
[frame.checksum]
kind = "crc16"
polynomial = 0x8005
initial = 0xFFFF
reflected = true
byte_order = "little"
first = 1
last = -4
at = -3

[[channel]]
quantity = "temperature"
field = { offset = 2, type = "f32", byte_order = "little" }

[[channel]]
quantity = "strain"
field = { offset = 6, type = "s24", divisor = 10 }
sentinel = [{ mask = 0xFFFFFF, equals = [0x800000], reason = "not_installed" }]

[[channel]]
quantity = "level"
field = { offset = 9, type = "u16", mask = 0x0FF0, shift = 4, decimals_at = 11 }

[[blank]]
span = { first = 2, last = 11 }
reason = "warm_up"

[[info]]
name = "mode"
field = { offset = 9, type = "u8", shift = 4 }
labels = { 2 = "slow" }
"""
)
"""A sensor of nobody's, with everything that the others do not have."""


def decode(text: str, octets: bytes) -> list:
    decoder = FrameDecoder(parse_profile(text, "test.toml"))
    at_once = [*decoder.feed(octets), *decoder.finish()]
    other = FrameDecoder(parse_profile(text, "test.toml"))
    one_by_one = [found for octet in octets for found in other.feed(bytes([octet]))] + other.finish()
    assert at_once == one_by_one
    assert b"".join(one.octets for one in at_once) == octets
    return at_once


def values(frame: DecodedFrame) -> dict:
    return {reading.quantity: (reading.value, reading.reason) for reading in frame.readings}


def slip(content: bytes) -> bytes:
    """A frame with Modbus' CRC and SLIP's stuffing (RFC 1055), written here for itself."""
    crc = 0xFFFF
    for octet in content:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    whole = content + struct.pack("<H", crc)
    return b"\xc0" + whole.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def test_a_sensor_with_a_length_field_and_status_bits_needs_a_data_file_only():
    good = bytes.fromhex("16 05 01 02 58 00 00 8A")
    (frame,) = decode(CUBIC_CM1106, good)
    assert values(frame) == {"carbon_dioxide": (600.0, Reason.OK)}
    warming = bytes.fromhex("16 05 01 02 58 01 00 89")
    (frame,) = decode(CUBIC_CM1106, warming)
    assert values(frame) == {"carbon_dioxide": (600.0, Reason.WARM_UP)}
    found = decode(CUBIC_CM1106, b"\x16" + good + b"\x16\xff" + good)
    assert [one.octets for one in found if isinstance(one, DecodedFrame)] == [good, good]


def test_a_length_field_that_cannot_be_is_a_reject_that_names_it():
    reject, _ = decode(CUBIC_CM1106, bytes.fromhex("16 FF 01"))
    assert reject.reason is Reason.MALFORMED_FRAME
    assert "byte 1" in reject.detail
    assert "258" in reject.detail


def test_a_line_between_control_characters_needs_a_data_file_only():
    line = b"\x02Q,229,002.74,M,00,\x0316\r\n"
    (frame,) = decode(GILL_WINDSONIC, line)
    assert values(frame) == {"wind_direction": (229.0, Reason.OK), "wind_speed": (2.74, Reason.OK)}
    found = decode(GILL_WINDSONIC, b"\x02Q,22" + line + b"\x03\x02" + line[:-2] + line)
    assert next(one.octets for one in found if isinstance(one, DecodedFrame)) == line
    assert sum(isinstance(one, DecodedFrame) for one in found) >= 2
    (reject,) = decode(GILL_WINDSONIC, line.replace(b"229", b"228"))
    assert reject.reason is Reason.CRC_ERROR


def test_a_stuffed_frame_with_a_crc_bits_floats_and_sentinels_is_read_and_its_errors_are_rejects():
    content = b"\x01" + struct.pack("<f", -2.5) + (-123456).to_bytes(3, "big", signed=True) + b"\x2a\xbc\x01"
    (frame,) = decode(STUFFED, slip(content))
    assert values(frame) == {
        "temperature": (-2.5, Reason.OK),
        "strain": (-12345.6, Reason.OK),
        "level": (17.1, Reason.OK),
    }
    assert frame.info["mode"] == "slow"
    empty = b"\x01" + struct.pack("<f", float("nan")) + b"\x80\x00\x00" + b"\xc0\xdb\x0a"
    (frame,) = decode(STUFFED, slip(empty))
    assert values(frame) == {
        "temperature": (None, Reason.NOT_A_NUMBER),
        "strain": (None, Reason.NOT_INSTALLED),
        "level": (None, Reason.MALFORMED_FRAME),
    }
    (frame,) = decode(STUFFED, slip(b"\x01" + bytes(10)))
    assert {reason for _, reason in values(frame).values()} == {Reason.WARM_UP}
    (reject,) = decode(STUFFED, slip(b"\xff\x07"))
    assert (reject.reason, reject.detail) == (Reason.DEVICE_FAULT, "error: the sensor says an error")
    (reject,) = decode(STUFFED, b"\xc0\x01\xdb\x00\xc0")
    assert (reject.reason, "byte 2" in reject.detail) == (Reason.MALFORMED_FRAME, True)


def test_a_frame_that_is_too_short_for_a_field_has_no_value_there_and_others_have():
    (frame,) = decode(STUFFED, slip(b"\x01" + struct.pack("<f", 1.5)))
    assert values(frame)["temperature"] == (1.5, Reason.OK)
    assert values(frame)["strain"] == (None, Reason.MALFORMED_FRAME)


def shipped(name: str, octets: bytes) -> list:
    decoder = FrameDecoder(load_profiles()[name])
    return [*decoder.feed(octets), *decoder.finish()]


def test_an_sps30_that_refuses_is_a_reject_with_the_data_sheets_words():
    (reject,) = shipped("sensirion_sps30", bytes.fromhex("7E00004300BC7E"))
    assert isinstance(reject, Rejected)
    assert reject.reason is Reason.DEVICE_FAULT
    assert "command not allowed in the current state" in reject.detail


def test_an_sps30_without_anything_new_says_so_and_one_with_an_error_flag_is_not_believed():
    (frame,) = shipped("sensirion_sps30", bytes.fromhex("7E00030000FC7E"))
    assert (frame.readings, frame.info["reason"]) == ((), "warm_up")
    content = bytes.fromhex("00038028") + struct.pack(">10f", *range(10))
    octets = b"\x7e" + content + bytes([~sum(content) & 0xFF]) + b"\x7e"
    (frame,) = shipped("sensirion_sps30", octets)
    assert {reading.reason for reading in frame.readings} == {Reason.DEVICE_FAULT}


def test_dust_sensors_that_send_nothing_but_zeros_warm_up():
    (frame,) = shipped("novafitness_sds011", bytes.fromhex("AAC00000000058D931AB"))
    assert {reading.reason for reading in frame.readings} == {Reason.WARM_UP}
    (frame,) = shipped("plantower_pmsx003", bytes.fromhex("424D001C" + "00" * 26 + "00AB"))
    assert {reading.reason for reading in frame.readings} == {Reason.WARM_UP}


def loop_packet(**words: int) -> bytes:
    """A LOOP packet of Davis' serial manual, section X.1, written here for itself."""
    packet = bytearray(99)
    packet[:3] = b"LOO"
    places = {
        "barometer": ("<H", 7, 30_050),
        "inside_temperature": ("<h", 9, 752),
        "inside_humidity": ("<B", 11, 41),
        "outside_temperature": ("<h", 12, -40),
        "wind_speed": ("<B", 14, 10),
        "wind_direction": ("<H", 16, 270),
        "outside_humidity": ("<B", 33, 66),
        "rain_rate": ("<H", 41, 12),
        "uv": ("<B", 43, 52),
        "solar": ("<H", 44, 800),
        "day_rain": ("<H", 50, 25),
        "battery": ("<H", 87, 820),
    }
    for name, (layout, at, usual) in places.items():
        struct.pack_into(layout, packet, at, words.get(name, usual))
    packet[95:97] = b"\n\r"
    crc = 0
    for octet in packet[:97]:
        crc ^= octet << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    struct.pack_into(">H", packet, 97, crc)
    return bytes(packet)


def test_a_davis_loop_packet_is_read_in_our_units_behind_its_acknowledgement():
    acknowledgement, frame = shipped("davis_vantage_loop", b"\x06" + loop_packet())
    assert (acknowledgement.offset, acknowledgement.octets, frame.offset) == (0, b"\x06", 1)
    read = {name: value for name, (value, _) in values(frame).items()}
    assert read["air_pressure"] == pytest.approx(1017.61, abs=0.01)
    assert read["indoor_temperature"] == pytest.approx(24.0)
    assert read["temperature"] == pytest.approx(-20.0)
    assert read["wind_speed"] == pytest.approx(4.4704)
    assert (read["wind_direction"], read["relative_humidity"], read["uv_index"]) == (270.0, 66.0, 5.2)
    assert read["battery_voltage"] == pytest.approx(4.8, abs=0.01)
    assert (frame.info["rain_intensity_uncalibrated"], frame.info["rainfall_uncalibrated"]) == (12.0, 25.0)


def test_what_a_davis_station_does_not_have_is_not_installed():
    (frame,) = shipped(
        "davis_vantage_loop",
        loop_packet(barometer=0, outside_temperature=32767, wind_speed=255, wind_direction=0, uv=255, solar=32767),
    )
    absent = {name for name, read in values(frame).items() if read == (None, Reason.NOT_INSTALLED)}
    assert absent == {"air_pressure", "temperature", "wind_speed", "wind_direction", "uv_index", "solar_radiation"}


@pytest.mark.parametrize("name", [name for name, one in load_profiles().items() if one.protocol == "serial_frame"])
def test_each_shipped_profile_names_its_source_and_each_model_belongs_to_one_profile(name):
    profiles = load_profiles()
    assert len(profiles[name].source) > 20
    others = {model.lower() for other, one in profiles.items() if other != name for model in one.models}
    assert {model.lower() for model in profiles[name].models} & others == set()


def test_a_poll_is_over_when_all_channels_were_heard_or_the_sensor_has_none():
    profile = load_profiles()["vaisala_wxt_nmea"]
    watch = AnswerWatch(load_profiles()["winsen_ze08_ch2o"])
    assert not watch.feed(bytes.fromhex("ff17040000251388"))
    assert not watch.feed(bytes.fromhex("25")), "the active frame lacks the mass"
    assert watch.feed(bytes.fromhex("ff86002a0000002030"))
    assert AnswerWatch(load_profiles()["sensirion_sps30"]).feed(bytes.fromhex("7E00030000FC7E"))
    heard = read_answer(profile, b"$WIMWV,282,R,0.1,M,A*37\r\n$WIMWV,28")
    assert heard.numbers["wind_speed"].number == 0.1
    assert heard.missing is Reason.MALFORMED_FRAME


def test_why_nothing_was_heard_is_told_from_what_was_rejected():
    crc, malformed, said = (
        Rejected(0, b"x", reason) for reason in (Reason.CRC_ERROR, Reason.MALFORMED_FRAME, Reason.DEVICE_FAULT)
    )
    assert judge_rejects([]) is Reason.NO_ANSWER
    assert judge_rejects([malformed]) is Reason.MALFORMED_FRAME
    assert judge_rejects([malformed, crc, malformed]) is Reason.CRC_ERROR
    assert judge_rejects([said, crc]) is Reason.DEVICE_FAULT


def test_an_unknown_line_of_a_known_dialect_is_a_reject_that_shows_it():
    (reject,) = shipped("vaisala_wxt_nmea", b"$WIZZZ,1,2*47\r\n")
    assert reject.reason is Reason.MALFORMED_FRAME
    assert "$WIZZZ" in reject.detail
    (reject,) = shipped("vaisala_wxt", b"0TX,Unable to measure error\r\n")
    assert (reject.reason, "Unable to measure" in reject.detail) == (Reason.DEVICE_FAULT, True)
    (reject,) = shipped("vaisala_wxt", b"0R0,Zz=12Q\r\n")
    assert (reject.reason, "Zz=12Q" in reject.detail) == (Reason.MALFORMED_FRAME, True)


def test_a_vaisala_line_that_is_cut_off_gives_no_half_number():
    (reject,) = shipped("vaisala_wxt", b"0R0,Dm=051D,Ta=27")
    assert (reject.reason, "truncated" in reject.detail) == (Reason.MALFORMED_FRAME, True)
    found = shipped("vaisala_wxt", b"0R0,Dm=051D,Ta=270R0,Dm=052D,Ta=27.9C\r\n")
    assert [isinstance(one, DecodedFrame) for one in found] == [False, True]
    assert values(found[1])["temperature"] == (27.9, Reason.OK)


@pytest.mark.parametrize(
    ("before", "line"),
    [
        (b"0R0,", b"0r1Goe\r\n"),
        (b"0R0,Ta=2", b"0+3.14OqZ\r\n"),
        (b"0R0,Ta=27.9C,", b"0R1,Dm=052D\r\n"),
        (b"0TX,Unable to mea", b"0R0,Dm=051D,Ta=27.9C\r\n"),
    ],
    ids=["a checked query", "checked values", "a line", "a line behind a message"],
)
def test_what_a_broken_line_of_any_kind_left_does_not_hide_the_line_behind_it(before, line):
    (alone,) = shipped("vaisala_wxt", line)
    reject, whole = shipped("vaisala_wxt", before + line)
    assert (reject.octets, reject.reason) == (before, Reason.MALFORMED_FRAME)
    assert f"broken off: another frame begins at {len(before)}" in reject.detail
    assert (whole.octets, whole.readings) == (line, alone.readings)


def test_a_frame_that_catches_all_other_lines_breaks_off_none():
    catch_all = """
[[frame]]
kind = "line"
name = "other"
start = '[A-Za-z]'
start_max = 1
meaning = { reason = "malformed_frame", text = "a line that is not known", rejects = true }
"""
    profile = (
        HEAD
        + """
[[frame]]
kind = "line"
name = "data"
start = 'DATA,'
start_max = 5
layout = "key_value"
"""
        + catch_all
        + """
[[channel]]
quantity = "temperature"
frames = ["data"]
part = { key = "TEMP", units = { C = {} } }
"""
    )
    frame, reject = decode(profile, b"DATA,TEMP=21.5C\r\nHELLO\r\n")
    assert values(frame) == {"temperature": (21.5, Reason.OK)}
    assert "a line that is not known: 'HELLO'" in reject.detail


def test_units_of_a_line_are_converted_and_unknown_ones_never_guessed():
    (frame,) = shipped("vaisala_wxt", b"0R0,Sm=10.0N,Ta=50.0F,Pa=29.92I,Ri=1.0I,Hc=3.0H,Ua=#\r\n")
    read = values(frame)
    assert read["wind_speed"][0] == pytest.approx(5.1444, abs=1e-4)
    assert read["temperature"][0] == pytest.approx(10.0)
    assert read["air_pressure"][0] == pytest.approx(1013.2, abs=0.1)
    assert read["rain_intensity"][0] == pytest.approx(25.4)
    assert read["hail"] == (None, Reason.MALFORMED_FRAME)
    assert read["relative_humidity"] == (None, Reason.DEVICE_FAULT)


BROKEN = {
    "no length at all": ('start_hex = "FF"', "one of length, length_field and end_hex"),
    "two lengths": ('start_hex = "FF"\nlength = 4\nlength_field = { offset = 1 }', "either a length or a length_field"),
    "a checksum outside": ('start_hex = "FF"\nlength = 4\nchecksum = { kind = "sum8", last = 2, at = 4 }', "offsets"),
    "a start as long as the frame": ('start_hex = "FF FF"\nlength = 2', "not shorter"),
    "stuffing without an end": (
        'start_hex = "FF"\nlength = 4\nstuffing = { escape = "7D", stand_ins = { "5E" = "7E" } }',
        "end_hex",
    ),
    "a channel behind the end": ('start_hex = "FF"\nlength = 4', "ends after the 4 bytes"),
    "an unknown key": ('start_hex = "FF"\nlength = 12\ncolour = 1', "unknown key"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_faulty_profile_is_refused_with_the_place_and_what_is_allowed(name):
    frame, wanted = BROKEN[name]
    channel = '[[channel]]\nquantity = "pm1"\nfield = { offset = 3 }\n'
    text = f'{HEAD}[[frame]]\nkind = "bytes"\nname = "f"\n{frame}\n{channel}'
    with pytest.raises(ConfigurationError) as caught:
        parse_profile(text, "mine.toml")
    assert "mine.toml" in str(caught.value)
    assert wanted in str(caught.value)


def test_a_rule_of_a_frame_that_does_not_exist_or_of_another_kind_is_refused():
    text = CUBIC_CM1106 + '[[info]]\nname = "x"\nframes = ["answr"]\nfield = { offset = 1 }\n'
    with pytest.raises(ConfigurationError, match="'answr' is not one of the frames answer"):
        parse_profile(text, "mine.toml")
    with pytest.raises(ConfigurationError, match="kind bytes"):
        parse_profile(CUBIC_CM1106 + '[[flag]]\npart = { position = 1 }\ngood = ["A"]\n', "mine.toml")
    wide = '[[state]]\nfield = { offset = 1, type = "u32" }\nrule = [{ equals = [4294967295], reason = "stale" }]\n'
    with pytest.raises(ConfigurationError, match="needs its mask"):
        parse_profile(CUBIC_CM1106 + wide, "mine.toml")
    with pytest.raises(ConfigurationError, match="one group"):
        parse_profile(GILL_WINDSONIC + "[[info]]\nname = 'x'\ntext = '^.'\n", "mine.toml")
    with pytest.raises(ConfigurationError, match="stands twice"):
        parse_profile(CUBIC_CM1106 + '[[channel]]\nquantity = "carbon_dioxide"\nfield = { offset = 4 }\n', "mine.toml")
