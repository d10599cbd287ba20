"""The declared MH-Z19B frame, fed in every way a serial port can."""

import json
from pathlib import Path

import pytest

from contracts.quality import Reason
from edge_agent.frame_parser import Checksum, ChecksumKind, Frame, FrameParser, build_field_decoder, compute_checksum
from edge_agent.load_profiles import load_profiles

FRAMES = json.loads((Path(__file__).parents[2] / "golden/edge_frames/mhz19b.json").read_text())["frames"]
PROFILE = load_profiles()["winsen_mhz19b"]
GOOD = bytes.fromhex("ff86027c42000000ba")


def feed(*pieces: bytes) -> list:
    parser = FrameParser(PROFILE.frame)
    return [found for piece in pieces for found in parser.feed(piece)] + parser.finish()


def frames(*pieces: bytes) -> list[bytes]:
    return [found.octets for found in feed(*pieces) if isinstance(found, Frame)]


@pytest.mark.parametrize("row", FRAMES, ids=lambda row: row["id"])
def test_every_published_frame_reads_its_published_value_however_it_arrives(row):
    octets = bytes.fromhex(row["frame_hex"])
    decode = build_field_decoder(PROFILE.channel[0].field)
    garbage = b"\x00\xff\x13\xff\xff"
    for pieces, count in [
        ([octets], 1),
        ([bytes([octet]) for octet in octets], 1),
        ([garbage + octets], 1),
        ([octets + garbage + octets], 2),
        ([octets, garbage], 1),
    ]:
        assert [decode(frame) for frame in frames(*pieces)] == [row["co2_ppm"]] * count, pieces


def test_a_wrong_checksum_is_a_crc_error_and_the_next_frame_is_still_found():
    corrupt = GOOD[:8] + b"\x00"
    found = feed(corrupt + GOOD)
    assert [(one.reason, one.offset) for one in found[:1]] == [(Reason.CRC_ERROR, 0)]
    assert [one.octets for one in found if isinstance(one, Frame)] == [GOOD]


def test_a_start_inside_of_a_corrupt_frame_is_not_missed():
    assert frames(GOOD[:4] + GOOD) == [GOOD]


def test_a_truncated_frame_is_malformed_and_silence_is_nothing():
    (reject,) = feed(GOOD[:6])
    assert reject.reason is Reason.MALFORMED_FRAME
    assert reject.octets == GOOD[:6]
    assert feed(b"") == []


def test_offsets_and_bytes_add_up_to_everything_that_was_fed():
    stream = b"\x01\x02" + GOOD + b"\xff" + GOOD[:5] + b"\xff\x86"
    found = feed(*[stream[at : at + 3] for at in range(0, len(stream), 3)])
    assert b"".join(one.octets for one in found) == stream
    assert [one.offset for one in found] == [sum(len(one.octets) for one in found[:at]) for at in range(len(found))]


def test_checksums_by_hand():
    assert compute_checksum(ChecksumKind.SUM8_NEGATED, bytes.fromhex("860000")) == 0x7A
    assert compute_checksum(ChecksumKind.SUM8_NEGATED, b"\x80\x80") == 0, "PyPMS' formula would give 256"
    assert compute_checksum(ChecksumKind.SUM8, b"\x80\x81") == 1
    assert compute_checksum(ChecksumKind.XOR8, b"\x0f\xf0") == 0xFF
    assert Checksum(kind="xor8", first=0, last=1, at=2).kind is ChecksumKind.XOR8
