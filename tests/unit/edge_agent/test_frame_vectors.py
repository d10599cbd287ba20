"""Every published frame of a serial sensor, fed in every way that a serial port can.

The vectors name their sources (captures of real sensors, makers' manuals, other projects' tests); what they expect was
never computed by this project.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.quality import Reason
from edge_agent.commands.decoded import DecodedFrame, Rejected
from edge_agent.frames.frame_decoder import FrameDecoder
from edge_agent.settings.load_profiles import load_profiles

FOLDER = Path(__file__).parents[2] / "golden/edge_frames"
PROFILES = load_profiles()
PROFILE_OF = {
    "HPMA115C0": "honeywell_hpma115c0",
    "MCU680": "bosch_mcu680",
    "MHZ19B": "winsen_mhz19b",
    "MH-Z14A": "winsen_mhz14a",
    "PMS3003": "plantower_pms3003",
    "PMS5003T": "plantower_pms5003t",
    "PMSx003": "plantower_pmsx003",
    "SDS01x": "novafitness_sds011",
    "SDS198": "novafitness_sds198",
    "SPS30": "sensirion_sps30",
    "ZE08-CH2O": "winsen_ze08_ch2o",
    "ZH03B": "winsen_zh03b",
}
QUANTITY_OF = {
    "pm01": "pm1",
    "pm25": "pm2_5",
    "pm04": "pm4",
    "pm10": "pm10",
    "pm100": "total_suspended_particles",
    "raw01": "pm1_uncorrected",
    "raw25": "pm2_5_uncorrected",
    "raw10": "pm10_uncorrected",
    "diam": "particle_size",
    "temp": "temperature",
    "rhum": "relative_humidity",
    "pres": "air_pressure",
    "IAQ": "air_quality_index",
    "gas": "gas_resistance",
    "alt": "altitude",
    "CO2": "carbon_dioxide",
    "co2_ppm": "carbon_dioxide",
    "ch2o_ppb": "formaldehyde",
    "ch2o_ug_m3": "formaldehyde_mass",
}
PLANTOWER = {
    "n0_3": "particles_over_0_3um",
    "n0_5": "particles_over_0_5um",
    "n1_0": "particles_over_1um",
    "n2_5": "particles_over_2_5um",
    "n5_0": "particles_over_5um",
    "n10_0": "particles_over_10um",
}
SPS30 = {
    "n0_5": "particles_to_0_5um",
    "n1_0": "particles_to_1um",
    "n2_5": "particles_to_2_5um",
    "n4_0": "particles_to_4um",
    "n10_0": "particles_to_10um",
}
INFO_OF = {"IAQ_acc": "iaq_acc_of_pypms"}
"""What the vectors expect beside values; all else stands in `info` under its own name."""

GARBAGE = b"\x00\x13no frame\xfe"


def load(name: str) -> list[dict]:
    return json.loads((FOLDER / f"{name}.json").read_text())["vectors"]


def decode(profile: str, *pieces: bytes) -> list:
    decoder = FrameDecoder(PROFILES[profile])
    return [found for piece in pieces for found in decoder.feed(piece)] + decoder.finish()


def ways_to_feed(octets: bytes) -> dict[str, tuple[list[bytes], int]]:
    """How a frame may arrive, and how often it then stands in the stream."""
    return {
        "whole": ([octets], 1),
        "byte by byte": ([bytes([octet]) for octet in octets], 1),
        "garbage before": ([GARBAGE + octets], 1),
        "garbage between": ([octets + GARBAGE, octets], 2),
        "garbage after": ([octets, GARBAGE], 1),
        "the beginning of a frame before": ([octets[:4] + octets], 1),
        "doubled": ([octets + octets], 2),
        "garbage everywhere, byte by byte": ([bytes([one]) for one in GARBAGE + octets + GARBAGE + octets], 2),
    }


def check_partition(found: list, stream: bytes) -> None:
    """Each byte in exactly one frame or reject, with true offsets."""
    position = 0
    for one in found:
        assert one.offset == position
        assert stream[position : position + len(one.octets)] == one.octets
        position += len(one.octets)
    assert position == len(stream)


def frames_of(profile: str, octets: bytes, way: str) -> list[DecodedFrame]:
    pieces, count = ways_to_feed(octets)[way]
    found = decode(profile, *pieces)
    check_partition(found, b"".join(pieces))
    frames = [one for one in found if isinstance(one, DecodedFrame)]
    assert [frame.octets for frame in frames] == [octets] * count
    return frames


each_way = pytest.mark.parametrize("way", ways_to_feed(b"12345"))


def check_expected(frame: DecodedFrame, expected: dict, names: dict[str, str]) -> None:
    values = {reading.quantity: reading.value for reading in frame.readings}
    for name, wanted in expected.items():
        shown = values[names[name]] if name in names else frame.info[INFO_OF.get(name, name)]
        if isinstance(wanted, int | float):
            # The csv files behind the vectors are rounded to one or two decimals.
            assert shown == pytest.approx(wanted, abs=0.051), name
        else:
            assert shown == wanted, name


@each_way
@pytest.mark.parametrize("row", [row for row in load("serial_sensors") if row["valid"]], ids=lambda row: row["id"])
def test_every_frame_of_a_sensor_reads_its_published_values(row, way):
    names = QUANTITY_OF | (SPS30 if row["device"] == "SPS30" else PLANTOWER)
    for frame in frames_of(PROFILE_OF[row["device"]], bytes.fromhex(row["frame_hex"]), way):
        assert all(reading.reason is Reason.OK for reading in frame.readings)
        check_expected(frame, row["expected"], names)


@each_way
@pytest.mark.parametrize("row", [row for row in load("serial_sensors") if not row["valid"]], ids=lambda row: row["id"])
def test_every_frame_with_a_wrong_checksum_is_rejected_for_it(row, way):
    octets = bytes.fromhex(row["frame_hex"])
    pieces, _ = ways_to_feed(octets)[way]
    found = decode(PROFILE_OF[row["device"]], *pieces)
    check_partition(found, b"".join(pieces))
    assert all(isinstance(one, Rejected) for one in found)
    assert Reason.CRC_ERROR in [one.reason for one in found]


@pytest.mark.parametrize("device", PROFILE_OF)
def test_each_single_wrong_byte_of_a_frame_is_told_from_a_right_frame(device):
    row = next(row for row in load("serial_sensors") if row["device"] == device and row["valid"])
    octets = bytes.fromhex(row["frame_hex"])
    for at in range(len(octets)):
        spoilt = octets[:at] + bytes([octets[at] ^ 0x01]) + octets[at + 1 :]
        found = decode(PROFILE_OF[device], spoilt + octets)
        check_partition(found, spoilt + octets)
        assert [one.octets for one in found if isinstance(one, DecodedFrame)][-1:] == [octets]
        assert isinstance(found[0], Rejected), f"byte {at} of {octets.hex()} may be anything"


@pytest.mark.parametrize("device", PROFILE_OF)
def test_each_beginning_of_a_frame_is_a_truncated_frame(device):
    row = next(row for row in load("serial_sensors") if row["device"] == device and row["valid"])
    octets = bytes.fromhex(row["frame_hex"])
    for length in range(1, len(octets)):
        found = decode(PROFILE_OF[device], octets[:length])
        check_partition(found, octets[:length])
        assert {one.reason for one in found} == {Reason.MALFORMED_FRAME}


@each_way
@pytest.mark.parametrize("row", load("shdlc"), ids=lambda row: row["id"])
def test_every_shdlc_request_is_unstuffed_to_what_was_stuffed(row, way):
    for frame in frames_of("sensirion_shdlc_request", bytes.fromhex(row["frame_hex"]), way):
        assert [frame.info[name] for name in ("address", "command", "data_hex")] == [
            row["address"],
            row["command"],
            row["data_hex"],
        ]


WEATHER = {row["id"]: row for row in load("weather")}
NMEA_QUANTITY = {
    "rain_mm": "rainfall",
    "rain_dur_s": "rain_duration",
    "rain_int_mmh": "rain_intensity",
    "rain_peak_mmh": "rain_intensity_peak",
    "wind_dir": "wind_direction",
    "wind_ms": "wind_speed",
    "dir_avg": "wind_direction",
    "speed_avg": "wind_speed",
    "temp": "temperature",
    "rh": "relative_humidity",
    "p": "air_pressure",
    "heating_temp": "heating_temperature",
    "supply": "supply_voltage",
}
VAISALA_QUANTITY = {
    "Dm": "wind_direction",
    "Sm": "wind_speed",
    "Ta": "temperature",
    "Ua": "relative_humidity",
    "Pa": "air_pressure",
    "Rc": "rainfall",
    "Th": "heating_temperature",
    "Vh": "heating_voltage",
}


@each_way
@pytest.mark.parametrize("terminator", [b"\r\n", b"\n", b""], ids=["CR LF", "LF", "none"])
@pytest.mark.parametrize("name", [name for name, row in WEATHER.items() if row["type"] == "nmea0183" and row["ok"]])
def test_every_nmea_sentence_with_a_right_checksum_reads_its_values(name, terminator, way):
    for frame in frames_of("vaisala_wxt_nmea", WEATHER[name]["text"].encode() + terminator, way):
        expected = {key: value for key, value in (WEATHER[name]["expected"] or {}).items() if key != "valid"}
        check_expected(frame, expected, NMEA_QUANTITY)


@each_way
@pytest.mark.parametrize("name", [name for name, row in WEATHER.items() if row["type"] == "nmea0183" and not row["ok"]])
def test_every_nmea_sentence_with_a_wrong_checksum_is_rejected_for_it(name, way):
    pieces, _ = ways_to_feed(WEATHER[name]["text"].encode() + b"\r\n")[way]
    found = decode("vaisala_wxt_nmea", *pieces)
    check_partition(found, b"".join(pieces))
    assert all(isinstance(one, Rejected) for one in found)
    assert Reason.CRC_ERROR in [one.reason for one in found]


def test_an_nmea_wind_sentence_that_says_invalid_has_no_values_and_says_why():
    (frame,) = decode("vaisala_wxt_nmea", WEATHER["nmea-WIMWV,,T-32"]["text"].encode())
    assert {(one.value, one.reason) for one in frame.readings} == {(None, Reason.DEVICE_FAULT)}


def test_a_vaisala_value_that_is_marked_invalid_has_none():
    (frame,) = decode("vaisala_wxt_nmea", WEATHER["nmea-WIXDR,A,-13"]["text"].encode())
    (heating,) = [one for one in frame.readings if one.quantity == "heating_voltage"]
    assert (heating.value, heating.reason) == (None, Reason.DEVICE_FAULT)


@each_way
@pytest.mark.parametrize("name", ["ascii-0R0-2", "ascii-0R1-corrupt"])
def test_every_vaisala_line_reads_its_values_and_only_the_corrupt_one_is_lost(name, way):
    row = WEATHER[name]
    for frame in frames_of("vaisala_wxt", row["text"].encode() + b"\r\n", way):
        check_expected(frame, {key: value for key, value in row["expected"].items() if key != "skip"}, VAISALA_QUANTITY)
        lost = [one.quantity for one in frame.readings if one.reason is Reason.MALFORMED_FRAME]
        assert lost == (["wind_direction_min"] if "skip" in row["expected"] else [])


@each_way
@pytest.mark.parametrize("name", [name for name in WEATHER if name.startswith("crc3-0r")])
def test_every_line_with_the_three_characters_of_vaisala_is_whole(name, way):
    (frame, *_) = frames_of("vaisala_wxt", f"{WEATHER[name]['text']}{WEATHER[name]['crc']}\r\n".encode(), way)
    assert frame.info["message"] == WEATHER[name]["text"][1:]


def test_the_example_of_the_sdi_12_specification_is_whole_and_a_changed_digit_is_not():
    (frame,) = decode("sdi12_crc", b"0+3.14OqZ\r\n")
    assert (frame.info["address"], frame.info["values"]) == ("0", "+3.14")
    assert [one.reason for one in decode("sdi12_crc", b"0+3.15OqZ\r\n")] == [Reason.CRC_ERROR]
