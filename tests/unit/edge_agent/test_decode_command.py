"""`edge-agent decode`, from the command line to its JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_agent.cli import run_command
from edge_agent.commands.decode import list_decodable
from edge_agent.commands.decode_input import InputError, guess_format, parse_hex
from edge_agent.settings.load_profiles import load_profiles

CO2 = "ff86027c42000000ba"
SENSORS = json.loads((Path(__file__).parents[2] / "golden/edge_frames/serial_sensors.json").read_text())["vectors"]


@pytest.fixture
def decode(capsys, monkeypatch):
    """Runs the command; gives exit code, JSON objects and what stood on standard error."""

    def run(*arguments: str, stdin: bytes = b"") -> SimpleNamespace:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        exit_code = run_command(["decode", *arguments])
        shown = capsys.readouterr()
        objects = [json.loads(line) for line in shown.out.splitlines()] if "--list" not in arguments else []
        return SimpleNamespace(exit_code=exit_code, objects=objects, out=shown.out, err=shown.err)

    return run


def test_a_frame_is_one_json_object_with_unit_and_quality(decode):
    ran = decode("--device", "winsen_mhz19b", CO2)
    assert ran.exit_code == 0
    assert ran.objects == [
        {
            "frame": CO2,
            "offset": 0,
            "device": "winsen_mhz19b",
            "readings": [{"quantity": "carbon_dioxide", "value": 636.0, "unit": "[ppm]", "quality": "good"}],
            "info": {"frame": "concentration", "inside_celsius": 26},
        }
    ]


def test_a_reject_has_its_reason_its_offset_and_its_bytes(decode):
    ran = decode("--device", "winsen_mhz19b", CO2, "0013", CO2[:-2] + "bb")
    assert ran.exit_code == 1
    assert [one.get("reject") for one in ran.objects] == [None, "malformed_frame", "crc_error"]
    assert [one["offset"] for one in ran.objects] == [0, 9, 11]
    assert ran.objects[2]["octets"] == CO2[:-2] + "bb"
    assert ran.objects[2]["detail"] == "the check at byte 8 is BB, computed BA"


def test_a_bad_reading_says_why(decode):
    (one,) = decode("--device", "winsen_mhz19b", "ff86 ffff 00000000 7c").objects
    assert one["readings"] == [
        {"quantity": "carbon_dioxide", "value": 65535.0, "unit": "[ppm]", "quality": "bad", "reason": "out_of_range"}
    ]


@pytest.mark.parametrize("text", [CO2, "FF 86 02 7C 42 00 00 00 BA\n", "0xff,0x86:02 7c\n42 00 00 00\tba"])
def test_hexadecimal_text_may_come_in_many_dresses_and_on_standard_input(decode, text):
    assert len(decode("--device", "MH-Z19B", text).objects) == 1
    assert len(decode("--device", "mhz19b", stdin=text.encode()).objects) == 1


def test_a_file_may_hold_bytes_or_hexadecimal_text(decode, tmp_path):
    (tmp_path / "raw.bin").write_bytes(bytes.fromhex(CO2) * 3)
    (tmp_path / "text.hex").write_text(f"{CO2}\n{CO2}\n")
    (tmp_path / "lines.log").write_bytes(b"$WIMWV,282,R,0.1,M,A*37\r\n")
    assert len(decode("--device", "mhz19b", "--file", str(tmp_path / "raw.bin")).objects) == 3
    assert len(decode("--device", "mhz19b", str(tmp_path / "text.hex")).objects) == 2
    assert len(decode("--device", "nmea", "--file", str(tmp_path / "lines.log")).objects) == 1
    assert decode("--device", "mhz19b", "--format", "raw", str(tmp_path / "text.hex")).exit_code == 1


def test_bytes_on_standard_input_that_are_no_text_are_taken_as_they_are(decode):
    ran = decode("--device", "mhz19b", stdin=bytes.fromhex(CO2))
    assert (ran.exit_code, len(ran.objects)) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--device", "mhz19b", "zz"], "digit 1 of the hexadecimal text is 'z'"),
        (["--device", "mhz19b", "ff8"], "3 digits"),
        (["--device", "mhz19b"], "no bytes"),
        (["--device", "mhz19b", CO2, "--file", "x"], "not both"),
        (["--device", "winson_mhz19b", CO2], "did you mean winsen_mhz19b"),
        (["--device", "mhz19b", "--file", "/does/not/exist"], "/does/not/exist"),
        (["--device", "mhz19b", "--pcap", __file__], "neither a pcap nor a pcapng"),
        ([CO2], "--device"),
    ],
    ids=str,
)
def test_a_wrong_command_is_exit_code_2_and_says_what_is_wrong(decode, arguments, wanted):
    ran = decode(*arguments)
    assert (ran.exit_code, ran.objects) == (2, [])
    assert wanted in ran.err


def test_a_slip_of_the_pen_on_standard_input_is_no_line_of_text(decode):
    ran = decode("--device", "mhz19b", stdin=b"ff86o27c\n")
    assert (ran.exit_code, "'o'" in ran.err) == (2, True)


def test_the_list_names_each_profile_of_frames_and_each_protocol(decode):
    ran = decode("--list")
    names = [line.split()[0] for line in ran.out.splitlines()]
    profiles = load_profiles()
    assert {name for name, one in profiles.items() if one.protocol == "serial_frame"} <= set(names)
    assert {"hj212", "gb26875_3"} <= set(names)
    assert names == sorted(names)
    assert ran.exit_code == 0


def test_each_name_of_the_list_and_each_device_of_the_vectors_is_known(decode):
    for one in list_decodable(load_profiles()):
        assert decode("--device", one.name, "00").exit_code in (0, 1), one.name
    for row in SENSORS:
        ran = decode("--device", row["device"], row["frame_hex"])
        assert ran.exit_code == (0 if row["valid"] else 1), row["id"]


def test_a_folder_of_own_profiles_is_read_beside_the_shipped_ones(decode, tmp_path):
    shipped = Path(__file__).parents[3] / "edge_agent/profiles/winsen_mhz19b.toml"
    (tmp_path / "my_own.toml").write_text(shipped.read_text().replace('models = ["MH-Z19B", "MH-Z19", "MH-Z19C"]', ""))
    (one,) = decode("--profiles", str(tmp_path), "--device", "my_own", CO2).objects
    assert one["device"] == "my_own"


def test_what_is_given_is_guessed_from_its_bytes():
    assert guess_format(b"\xd4\xc3\xb2\xa1" + bytes(20), is_file=False) == "pcap"
    assert guess_format(b"\x0a\x0d\x0d\x0a", is_file=True) == "pcap"
    assert guess_format(b"ff 86\n", is_file=True) == "hex"
    assert guess_format(b"0R0,Dm=051D\r\n", is_file=True) == "raw"
    assert guess_format(b"0R0,Dm=051D\r\n", is_file=False) == "hex"
    assert guess_format(b"\xff\x86", is_file=False) == "raw"
    with pytest.raises(InputError, match="digit 5"):
        parse_hex(b"ff 86 g0")
