"""Checksums against published check values, not against themselves."""

from __future__ import annotations

import binascii
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_agent.frames.checksum import Checksum

WEATHER = json.loads((Path(__file__).parents[2] / "golden/edge_frames/weather.json").read_text())["vectors"]
CATALOGUE = {
    # kind, polynomial, initial, reflected, final_xor: check value of "123456789"
    "CRC-16/ARC": ("crc16", 0x8005, 0x0000, True, 0x0000, 0xBB3D),
    "CRC-16/MODBUS": ("crc16", 0x8005, 0xFFFF, True, 0x0000, 0x4B37),
    "CRC-16/USB": ("crc16", 0x8005, 0xFFFF, True, 0xFFFF, 0xB4C8),
    "CRC-16/XMODEM": ("crc16", 0x1021, 0x0000, False, 0x0000, 0x31C3),
    "CRC-16/CCITT-FALSE": ("crc16", 0x1021, 0xFFFF, False, 0x0000, 0x29B1),
    "CRC-16/KERMIT": ("crc16", 0x1021, 0x0000, True, 0x0000, 0x2189),
    "CRC-8/SMBUS": ("crc8", 0x07, 0x00, False, 0x00, 0xF4),
    "CRC-8/MAXIM-DOW": ("crc8", 0x31, 0x00, True, 0x00, 0xA1),
    "CRC-8/NRSC-5": ("crc8", 0x31, 0xFF, False, 0x00, 0xF7),
    "CRC-32/ISO-HDLC": ("crc32", 0x04C11DB7, 0xFFFFFFFF, True, 0xFFFFFFFF, 0xCBF43926),
}
"""From the catalogue of parametrised CRC algorithms (https://reveng.sourceforge.io/crc-catalogue)."""


def checksum(**settings) -> Checksum:
    return Checksum(**{"first": 0, "last": -2, "at": -1} | settings)


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_crc_has_the_check_value_of_the_catalogue(name):
    kind, polynomial, initial, is_reflected, final_xor, wanted = CATALOGUE[name]
    crc = checksum(kind=kind, polynomial=polynomial, initial=initial, reflected=is_reflected, final_xor=final_xor)
    assert crc.compute_number(b"123456789") == wanted


def test_the_crc_of_davis_is_that_of_its_manual_and_of_the_standard_library():
    (row,) = [row for row in WEATHER if row["type"].startswith("davis")]
    crc = checksum(kind="crc16", polynomial=0x1021)
    octets = bytes.fromhex(row["data_hex"])
    assert crc.compute(octets) == bytes.fromhex(row["crc"])
    assert crc.compute_number(octets + crc.compute(octets)) == 0
    for length in range(50):
        assert crc.compute_number(bytes(range(length))) == binascii.crc_hqx(bytes(range(length)), 0)


@pytest.mark.parametrize("row", [row for row in WEATHER if "crc3" in row["id"]], ids=lambda row: row["id"])
def test_the_three_characters_of_sdi_12_are_those_of_the_manuals(row):
    crc = checksum(kind="crc16", polynomial=0x8005, reflected=True, encoding="sdi12")
    assert crc.compute(row["text"].encode()) == row["crc"].encode()


def test_sums_by_hand():
    assert checksum(kind="sum8").compute(b"\x80\x81") == b"\x01"
    assert checksum(kind="sum8_negated").compute(bytes.fromhex("860000")) == b"\x7a"
    assert checksum(kind="sum8_negated").compute(b"\x80\x80") == b"\x00", "0x100 - sum % 0x100 would be 256"
    assert checksum(kind="sum8_inverted").compute(bytes.fromhex("00030028")) == b"\xd4"
    assert checksum(kind="sum16").compute(b"\xff" * 3) == b"\x02\xfd"
    assert checksum(kind="sum16", byte_order="little").compute(b"\xff" * 3) == b"\xfd\x02"
    assert checksum(kind="xor8").compute(b"\x0f\xf0\x01") == b"\xfe"
    assert checksum(kind="xor8", encoding="hex").compute(b"\x0f\xf0\x01") == b"FE"


def test_hexadecimal_digits_count_in_either_case_and_are_shown_as_they_stand():
    check = Checksum(kind="xor8", first=1, last=-4, at=-2, encoding="hex")
    assert check.find_fault(b"$A*41") == ""
    assert check.find_fault(b"$O*4f") == ""
    assert check.find_fault(b"$A*42") == "the check at byte 3 is '42', computed '41'"


def test_a_frame_without_room_for_its_check_is_known():
    check = Checksum(kind="crc16", polynomial=0x1021, first=1, last=-3, at=-2)
    for length in range(4):
        assert not check.has_room(b"\x00" * length)
    assert check.has_room(b"\x7e\x00\x00\x00")
    assert check.find_fault(b"\x7e\x00\x00\x00") == ""


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "crc16"},
        {"kind": "sum8", "polynomial": 7},
        {"kind": "xor8", "encoding": "sdi12"},
        {"kind": "md5"},
    ],
    ids=str,
)
def test_a_checksum_that_makes_no_sense_is_a_fault(settings):
    with pytest.raises(ValidationError):
        checksum(**settings)
