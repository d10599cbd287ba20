"""Captured Modbus traffic: published frames, a capture that another tool has read, and every way to spoil them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import Reason
from edge_agent.commands.decode import decoder_of
from edge_agent.commands.decoded import DecodedFrame, Rejected
from edge_agent.modbus.register_decode import RegisterDecoders
from edge_agent.modbus.rtu_frame import compute_crc
from edge_agent.settings.load_profiles import load_profiles

GOLDEN = Path(__file__).parents[2] / "golden/edge_modbus"
DEVICES = json.loads((GOLDEN / "modbus_devices.json").read_text())
CAPTURE = json.loads((GOLDEN / "modbus_tcp_icsnpp.json").read_text())
PROFILES = load_profiles()
GEOKON = next(row for row in DEVICES["modbus_vectors"] if row["id"] == "geokon3810a-thermistor")
QUESTION, ANSWER = bytes.fromhex(GEOKON["request_hex"]), bytes.fromhex(GEOKON["response_hex"])


def decode(octets: bytes, device: str = "modbus", piece: int = 0) -> list:
    decoder = decoder_of(device, PROFILES).source.build()
    found = []
    for at in range(0, len(octets), piece or len(octets) or 1):
        found += decoder.feed(octets[at : at + (piece or len(octets))])
    found += decoder.finish()
    assert b"".join(one.octets for one in found) == octets, "every byte is in exactly one frame or reject"
    position = 0
    for one in found:
        assert one.offset == position
        position += len(one.octets)
    return found


def frames(found: list) -> list[DecodedFrame]:
    return [one for one in found if isinstance(one, DecodedFrame)]


def rtu(hex_text: str) -> bytes:
    octets = bytes.fromhex(hex_text)
    return octets + compute_crc(octets).to_bytes(2, "little")


@pytest.mark.parametrize("vector", DEVICES["modbus_vectors"], ids=lambda one: one["id"])
@pytest.mark.parametrize("piece", [0, 1, 3])
def test_every_published_exchange_decodes_to_its_published_numbers(vector, piece):
    stream = bytes.fromhex(vector["request_hex"] + vector["response_hex"])
    asked, answered = decode(stream, piece=piece)
    assert asked.info["address"] == vector["address"]
    assert asked.info["count"] == vector["quantity"]
    assert asked.info["function_code"] == vector["fc"]
    expected = vector["expected"]
    if "written" in expected:
        assert asked.info["written"] == expected["written"]
        assert answered.info["confirms"]["address"] == vector["address"]
    elif "value" in expected:
        assert answered.info["registers"] == [expected["value"]]


def test_the_thermistors_answer_is_a_temperature_and_the_published_resistance_stands_beside_it():
    for stream in (QUESTION + ANSWER, ANSWER):
        last = decode(stream, "geokon_3810a")[-1]
        (reading,) = last.readings
        assert (reading.quantity, reading.reason) == ("temperature", Reason.OK)
        assert reading.value == pytest.approx(23.2, abs=0.3)
        assert last.info["raw"] == [{"quantity": "temperature", "number": GEOKON["expected"]["resistance_ohm"]}]


def test_an_answer_without_its_question_says_that_its_address_is_assumed():
    assert decode(ANSWER, "geokon_3810a")[0].info["is_address_assumed"] is True
    assert "is_address_assumed" not in decode(QUESTION + ANSWER, "geokon_3810a")[1].info


def test_the_published_answer_of_the_sf6_transmitter():
    (found,) = decode(rtu(DEVICES["register_maps"]["sf6_o2_cn"]["example"]), "sf6_o2_cn")
    assert [(one.quantity, one.value) for one in found.readings] == [("sulfur_hexafluoride", 3048.0), ("oxygen", 20.9)]


def decode_capture(mixed: bool) -> dict[tuple[int, int], list]:
    """Question and answer by transaction and device id."""
    source = RegisterDecoders(None)
    both = source.build()
    questions, answers = (both, both) if mixed else source.build_pair()
    found = {id(questions): [], id(answers): []}
    for adu in CAPTURE["adus"]:
        decoder = questions if adu["direction"] == "request" else answers
        found[id(decoder)] += decoder.feed(bytes.fromhex(adu["hex"]))
    pairs: dict[tuple[int, int], list] = {}
    for decoder in dict.fromkeys((questions, answers)):
        for one in [*found[id(decoder)], *decoder.finish()]:
            pairs.setdefault((int.from_bytes(one.octets[:2], "big"), one.octets[6]), []).append(one)
    assert sum(len(pair) for pair in pairs.values()) == len(CAPTURE["adus"])
    return pairs


@pytest.mark.parametrize("mixed", [True, False], ids=["one stream", "two directions"])
def test_the_capture_decodes_as_another_tool_decoded_it(mixed):
    pairs = decode_capture(mixed)
    compared = 0
    for row in CAPTURE["expected_rows"]:
        asked, answered = pairs[int(row["tid"]), int(row["unit"])]
        assert asked.info["device_id"] == int(row["unit"])
        if row["exception_code"] == "ILLEGAL_DATA_ADDRESS":
            assert answered.reason is Reason.MODBUS_ILLEGAL_ADDRESS
            compared += 1
        if row["func"] in {"READ_COILS", "READ_DISCRETE_INPUTS", "READ_HOLDING_REGISTERS", "READ_INPUT_REGISTERS"}:
            assert (asked.info["address"], asked.info["count"]) == (int(row["address"]), int(row["quantity"]))
            if row["response_values"] != "-":
                numbers = answered.info.get("registers", answered.info.get("bits"))
                assert list(numbers) == [int(value) for value in row["response_values"].split(",")]
                compared += 1
        if row["func"] in {"WRITE_SINGLE_REGISTER", "WRITE_MULTIPLE_REGISTERS", "WRITE_MULTIPLE_COILS"}:
            assert asked.info["written"] == [int(value) for value in row["request_values"].split(",")]
            assert answered.info["confirms"]["address"] == int(row["address"])
            compared += 1
    assert compared == 12


XRL = rtu("0b 03 00 66 00 06")
XRL_ANSWER = rtu("0b 03 0c 4148 0000 0000 0000 0001 0007")


def test_state_registers_are_quality_and_not_values():
    readings = decode(XRL + XRL_ANSWER, "honeywell_sensepoint_xrl")[1].readings
    assert [(one.quantity, one.value, one.reason) for one in readings] == [("methane_lel", 12.5, Reason.OK)]
    warming = rtu("0b 03 0c 4148 0000 0000 0000 0002 0007")
    ((reading,),) = (one.readings for one in decode(XRL + warming, "honeywell_sensepoint_xrl")[1:])
    assert reading.reason is Reason.WARM_UP


def test_a_state_that_was_not_read_yet_is_named_and_one_that_was_read_apart_counts():
    value = rtu("0b 03 00 66 00 02") + rtu("0b 03 04 4148 0000")
    state = rtu("0b 03 00 68 00 03") + rtu("0b 03 06 0000 0000 0003")
    found = decode(value + state + value, "honeywell_sensepoint_xrl")
    assert found[1].info["state_not_read_yet"] == [104, 105, 106]
    assert found[1].readings[0].reason is Reason.OK
    assert found[5].readings[0].reason is Reason.INHIBITED


def test_each_place_of_a_repeated_profile_is_named():
    question, answer = rtu("01 03 00 00 00 03"), rtu("01 03 06 1400 0C10 00FF")
    found = decode(question + answer, "notifier_modbus_gw")[1]
    assert found.info["places"] == ["L1D1", "L1D2", "L1D3"]
    assert [(one.value, one.reason) for one in found.readings] == [
        (0.0, Reason.OK),
        (1.0, Reason.OK),
        (None, Reason.NOT_INSTALLED),
    ]


def test_a_profile_that_needs_a_nodes_own_calibration_shows_the_raw_number_only():
    found = decode(rtu("01 03 00 64 00 02") + rtu("01 03 04 3119 0000"), "winners_vtn416")[1]
    assert found.readings == []
    assert found.info["raw"][0] == {"quantity": "strain", "number": 12569}


def test_an_exception_is_a_reject_with_its_reason_and_what_was_asked():
    _, rejected = decode(rtu("01 03 00 64 00 02") + rtu("01 83 02"))
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.MODBUS_ILLEGAL_ADDRESS
    assert "for 2 from address 100 on" in rejected.detail


@pytest.mark.parametrize("at", range(len(ANSWER)))
def test_a_flipped_bit_is_a_reject_and_the_next_exchange_is_found(at):
    spoiled = bytearray(ANSWER)
    spoiled[at] ^= 0x10
    found = decode(QUESTION + bytes(spoiled) + QUESTION + ANSWER, "geokon_3810a")
    assert [one.octets for one in frames(found)] == [QUESTION, QUESTION, ANSWER]
    rejects = [one for one in found if isinstance(one, Rejected)]
    assert b"".join(one.octets for one in rejects) == bytes(spoiled)
    if at > 2:
        assert rejects[0].reason is Reason.CRC_ERROR


def test_an_answer_that_does_not_fit_its_question_is_no_reading():
    found = decode(rtu("02 03 01 02 00 04") + ANSWER, "geokon_3810a")
    assert not any(one.readings for one in frames(found))


def test_ascii_frames_decode_and_a_wrong_sum_does_not():
    octets = QUESTION[:-2]
    line = b":" + (octets + bytes([-sum(octets) % 256])).hex().upper().encode() + b"\r\n"
    assert decode(line)[0].info["address"] == 0x0102
    spoiled = line.replace(b"0102", b"0103")
    (rejected,) = decode(spoiled)
    assert rejected.reason is Reason.CRC_ERROR


@given(
    st.lists(st.binary(max_size=12), min_size=3, max_size=5),
    st.integers(1, 9),
    st.sampled_from(
        [(QUESTION, ANSWER), (bytes.fromhex("000100000006040300010001"), bytes.fromhex("00010000000504030200aa"))]
    ),
)
def test_how_the_bytes_arrive_changes_nothing_and_garbage_is_given_back(garbage, piece, exchange):
    stream = b"".join(noise + exchange[order % 2] for order, noise in enumerate(garbage))
    whole, pieces = decode(stream), decode(stream, piece=piece)
    assert [(one.offset, one.octets, type(one)) for one in whole] == [
        (one.offset, one.octets, type(one)) for one in pieces
    ]


@given(st.lists(st.binary(max_size=9).filter(lambda noise: b"\2\3" not in noise), min_size=2, max_size=4))
def test_garbage_never_hides_an_rtu_exchange(garbage):
    stream = b"".join(noise + QUESTION + ANSWER for noise in garbage) + garbage[0]
    found = [one.octets for one in frames(decode(stream))]
    assert found.count(QUESTION) == found.count(ANSWER) == len(garbage)


def test_endless_garbage_is_given_back_in_bounded_pieces():
    decoder = RegisterDecoders(None).build()
    given_back = sum(len(one.octets) for _ in range(100) for one in decoder.feed(b"\x55" * 1000))
    assert given_back > 99_000


def test_the_published_frame_of_the_wireless_pressure_terminal():
    published = DEVICES["register_maps"]["shanghai_mingkong_wireless"]
    (found,) = decode(bytes.fromhex(published["frame_hex"]), "shanghai_mingkong_pressure")
    expected = published["expected"]
    assert [(one.quantity, one.value) for one in found.readings] == [("pressure", float(expected["current"]))]
    assert bytes.fromhex(found.info["device_hex"]).decode() == expected["device"]
    assert found.info["battery"] == f"{expected['battery_pct']} %"
    for name, info_name in [
        ("cmd", "command"),
        ("rssi_dbm", "rssi_dbm"),
        ("interval_s", "interval_s"),
        ("count", "reading_count"),
        ("device_type", "device_type"),
        ("alarm", "alarm"),
        ("low", "low_limit_kpa"),
        ("high", "high_limit_kpa"),
        ("ts", "time_s"),
    ]:
        assert found.info[info_name] == expected[name], name


@pytest.mark.parametrize(
    "name",
    [
        "honeywell_sensepoint_xrl",
        "honeywell_searchline_excel_plus",
        "honeywell_sensepoint_xcd_rfd",
        "honeywell_midas",
        "drager_polytron_8000",
        "msa_ultima_x3",
        "gm_5100_02_it",
        "notifier_modbus_gw",
        "geokon_3810a",
        "sf6_o2_cn",
    ],
)
def test_every_register_map_of_the_vectors_has_its_profile(name):
    assert name in DEVICES["register_maps"]
    assert PROFILES[name].protocol == "modbus"
