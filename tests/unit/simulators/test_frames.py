"""Frames against bytes that others published, never against a codec of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.errors import FrameError
from simulators.modbus_frame import Request, compute_crc, encode_mbap, encode_rtu, split_mbap, split_rtu
from simulators.winsen_frame import encode_gas_answer, split_questions


def _rtu_frames(golden):
    for vector in golden("modbus_rtu")["vectors"]:
        yield vector["id"], bytes.fromhex(vector["request_hex"])


def test_every_published_rtu_request_is_found_whole_byte_by_byte_and_between_garbage(golden):
    for name, frame in _rtu_frames(golden):
        expected = [Request(frame[0], frame[1:-2])]
        assert split_rtu(bytearray(frame)) == expected, name
        buffer, found = bytearray(), []
        for byte in frame:
            buffer.append(byte)
            found += split_rtu(buffer)
        assert found == expected, f"{name}: byte by byte"
        garbage = bytes.fromhex("00ff5503")
        assert split_rtu(bytearray(garbage + frame + garbage + frame + garbage)) == expected * 2, f"{name}: garbage"


def test_an_rtu_request_with_any_bit_turned_is_not_answered(golden):
    for name, frame in _rtu_frames(golden):
        for bit in range(8 * len(frame)):
            damaged = bytearray(frame)
            damaged[bit // 8] ^= 1 << bit % 8
            assert split_rtu(damaged) == [], f"{name}: bit {bit} was turned, yet the frame was taken"


def test_a_truncated_rtu_request_waits_and_is_never_answered(golden):
    for name, frame in _rtu_frames(golden):
        for length in range(len(frame)):
            assert split_rtu(bytearray(frame[:length])) == [], f"{name}: {length} bytes"


def test_endless_garbage_does_not_grow_the_buffer():
    buffer = bytearray(b"\x55" * 5000)
    split_rtu(buffer)
    assert len(buffer) <= 256


def test_published_rtu_answers_have_the_crc_that_is_put_on_them(golden):
    for vector in golden("modbus_rtu")["vectors"]:
        frame = bytes.fromhex(vector["response_hex"])
        assert encode_rtu(frame[0], frame[1:-2]) == frame, vector["id"]
        damaged = encode_rtu(frame[0], frame[1:-2], is_crc_wrong=True)
        assert damaged[:-2] == frame[:-2]
        assert damaged[-2:] != frame[-2:]
        assert compute_crc(damaged[:-2]).to_bytes(2, "little") == frame[-2:]


def test_captured_tcp_requests_are_split_whole_and_byte_by_byte(golden):
    adus = [bytes.fromhex(adu["hex"]) for adu in golden("modbus_tcp")["adus"] if adu["direction"] == "request"]
    expected = [Request(adu[6], adu[7:], int.from_bytes(adu[:2], "big")) for adu in adus]
    assert split_mbap(bytearray(b"".join(adus))) == expected
    buffer, found = bytearray(), []
    for byte in b"".join(adus):
        buffer.append(byte)
        found += split_mbap(buffer)
    assert found == expected
    assert not buffer


def test_captured_tcp_answers_are_what_is_put_around_their_pdu(golden):
    for adu in golden("modbus_tcp")["adus"]:
        frame = bytes.fromhex(adu["hex"])
        if adu["direction"] == "response" and int.from_bytes(frame[4:6], "big") == len(frame) - 6:
            request = Request(frame[6], b"", int.from_bytes(frame[:2], "big"))
            assert encode_mbap(request, frame[7:]) == frame


@pytest.mark.parametrize("header", ["00010001000601", "00010000000101", "0001000000ff01"])
def test_a_header_that_is_not_mbap_is_refused(header):
    with pytest.raises(FrameError):
        split_mbap(bytearray.fromhex(header))


@given(st.binary(max_size=300))
def test_no_bytes_whatever_upset_the_serial_splitters(noise):
    split_rtu(bytearray(noise))
    split_questions(bytearray(noise))


def test_the_captured_winsen_answers_are_reproduced_byte_for_byte(golden):
    # Byte 5 of the captures is a status that the manual does not describe: 0 in all of them.
    captured = [row for row in golden("winsen")["vectors"] if row["device"] == "MHZ19B"]
    assert captured
    for row in captured:
        frame = bytes.fromhex(row["frame_hex"])
        assert encode_gas_answer(int(row["expected"]["CO2"]), frame[4] - 40) == frame, row["id"]


def test_the_published_winsen_question_is_found_between_garbage(golden):
    question = bytes.fromhex(golden("winsen")["commands"][0]["hex"])
    assert split_questions(bytearray(question)) == [0x86]
    assert split_questions(bytearray(b"\xff\x00\x01" + question + b"\xff\xff" + question)) == [0x86, 0x86]
    buffer, found = bytearray(), []
    for byte in question:
        buffer.append(byte)
        found += split_questions(buffer)
    assert found == [0x86]
    damaged = bytearray(question)
    damaged[8] ^= 1
    assert split_questions(damaged) == []


def test_a_wrong_winsen_checksum_differs_in_the_last_byte_only():
    right, wrong = encode_gas_answer(636, 26), encode_gas_answer(636, 26, is_checksum_wrong=True)
    assert right[:8] == wrong[:8]
    assert right[8] != wrong[8]
