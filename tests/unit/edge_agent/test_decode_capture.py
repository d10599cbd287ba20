"""Captures: files of both kinds, and what was said on each flow, whatever the network did to it."""

from __future__ import annotations

import contextlib
import json
import random
import struct
from pathlib import Path

import pytest

from edge_agent.cli import run_command
from edge_agent.commands.capture_file import CaptureError, Packet, read_packets
from edge_agent.commands.capture_flow import MAX_EARLY_SEGMENTS, read_flows

CLIENT, SERVER = ("10.0.0.2", 40000), ("10.0.0.1", 4001)
CO2 = bytes.fromhex("ff86027c42000000ba")


def ip(protocol: int, sender: tuple[str, int], receiver: tuple[str, int], payload: bytes) -> bytes:
    ends = bytes(int(part) for end in (sender, receiver) for part in end[0].split("."))
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + ends + payload


def tcp(sender, receiver, sequence: int, octets: bytes = b"", flags: int = 0x18, pad: int = 0) -> Packet:
    header = struct.pack(">HHIIBBHHH", sender[1], receiver[1], sequence % 2**32, 0, 0x50, flags, 0, 0, 0)
    return Packet(1, bytes(12) + b"\x08\x00" + ip(6, sender, receiver, header + octets) + bytes(pad))


def udp(sender, receiver, octets: bytes) -> Packet:
    return Packet(
        101, ip(17, sender, receiver, struct.pack(">HHHH", sender[1], receiver[1], 8 + len(octets), 0) + octets)
    )


def pcap(packets: list[Packet], order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, packets[0].link_type)
    return head + b"".join(
        struct.pack(order + "IIII", 0, 0, len(one.octets), len(one.octets)) + one.octets for one in packets
    )


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def pcapng(packets: list[Packet], order: str = "<") -> bytes:
    octets = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    octets += block(order, 1, struct.pack(order + "HHI", packets[0].link_type, 0, 65535))
    octets += block(order, 5, b"statistics, which nobody wants")
    for at, one in enumerate(packets):
        length = len(one.octets)
        head = struct.pack(order + "IIIII", 0, 0, 0, length, length) if at % 2 else struct.pack(order + "I", length)
        octets += block(order, 6 if at % 2 else 3, head + one.octets)
    return octets


def said(packets: list[Packet]) -> dict[tuple[str, bool], bytes]:
    heard: dict[tuple[str, bool], bytes] = {}
    for piece in read_flows(packets):
        key = (piece.flow, piece.is_from_opener)
        heard[key] = heard.get(key, b"") + piece.octets
    return heard


FLOW = "tcp 10.0.0.2:40000 > 10.0.0.1:4001"


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_kinds_of_file_give_their_packets_in_either_byte_order(order):
    packets = [tcp(CLIENT, SERVER, 1, b"a"), tcp(SERVER, CLIENT, 1, b"bcd"), tcp(CLIENT, SERVER, 2, b"e")]
    assert list(read_packets(pcap(packets, order))) == packets
    assert list(read_packets(pcap(packets, order, 0xA1B23C4D))) == packets
    assert list(read_packets(pcapng(packets, order))) == packets


@pytest.mark.parametrize("make", [pcap, pcapng])
def test_a_file_that_is_cut_off_gives_what_is_whole_and_then_says_where_it_ends(make):
    packets = [tcp(CLIENT, SERVER, 1, b"a"), tcp(CLIENT, SERVER, 2, b"b")]
    octets = make(packets)
    for length in range(len(octets) - 70, len(octets)):
        reading = read_packets(octets[:length])
        read = []
        with contextlib.suppress(CaptureError):
            read.extend(reading)  # takes each packet before the error comes
        assert read == packets[: len(read)]
    with pytest.raises(CaptureError, match=r"byte \d+"):
        list(read_packets(octets[:-1]))
    with pytest.raises(CaptureError, match="neither"):
        list(read_packets(b"no capture at all, but long enough for a header"))


def test_segments_that_come_late_twice_or_overlapping_are_said_once_and_in_order():
    pieces = [(100, b"abcd"), (104, b"ef"), (106, b"ghi"), (109, b"jk")]
    opening = [tcp(CLIENT, SERVER, 99, flags=0x02), tcp(SERVER, CLIENT, 500, flags=0x12)]
    for seed in range(50):
        order = random.Random(seed)
        packets = [tcp(CLIENT, SERVER, sequence, octets, pad=6) for sequence, octets in pieces * 2]
        packets.append(tcp(CLIENT, SERVER, 102, b"cdefgh"))
        order.shuffle(packets)
        assert said([*opening, *packets]) == {(FLOW, True): b"abcdefghijk"}


def test_sequence_numbers_may_pass_through_zero():
    packets = [tcp(CLIENT, SERVER, 2**32 - 3, flags=0x02), tcp(CLIENT, SERVER, 2**32 - 2, b"abcd")]
    assert said([*packets, tcp(CLIENT, SERVER, 2, b"ef")]) == {(FLOW, True): b"abcdef"}


def test_what_the_capture_lacks_for_good_is_left_out_and_nothing_waits_for_ever():
    opening = tcp(CLIENT, SERVER, 99, flags=0x02)
    assert said([opening, tcp(CLIENT, SERVER, 100, b"ab"), tcp(CLIENT, SERVER, 104, b"ef")])[(FLOW, True)] == b"abef"
    many = [tcp(CLIENT, SERVER, 200 + 2 * at, b"xy") for at in range(MAX_EARLY_SEGMENTS + 1)]
    first = next(iter(read_flows([opening, *many])))
    assert first.octets == b"xy" * (MAX_EARLY_SEGMENTS + 1)


def test_the_side_that_opened_is_known_by_its_syn_and_else_by_its_higher_port():
    assert set(said([tcp(SERVER, CLIENT, 7, b"answer")])) == {(FLOW, False)}
    answered = [tcp(SERVER, CLIENT, 1, flags=0x12), tcp(CLIENT, SERVER, 1, b"a")]
    assert set(said(answered)) == {(FLOW, True)}
    callback = [tcp(SERVER, CLIENT, 1, flags=0x02), tcp(SERVER, CLIENT, 2, b"a")]
    assert set(said(callback)) == {("tcp 10.0.0.1:4001 > 10.0.0.2:40000", True)}


def test_datagrams_vlan_tags_ipv6_and_packets_without_anything_are_all_read_or_left_out():
    assert said([udp(CLIENT, SERVER, b"hello")]) == {("udp 10.0.0.2:40000 > 10.0.0.1:4001", True): b"hello"}
    plain = tcp(CLIENT, SERVER, 1, b"a").octets
    tagged = Packet(1, plain[:12] + b"\x81\x00\x00\x07" + plain[12:])
    assert said([tagged]) == {(FLOW, True): b"a"}
    header = struct.pack(">HHHH", 40000, 4001, 9, 0) + b"x"
    six = struct.pack(">IHBB", 6 << 28, len(header), 17, 64) + bytes(15) + b"\x01" + bytes(15) + b"\x02" + header
    assert said([Packet(1, bytes(12) + b"\x86\xdd" + six)]) == {("udp [::1]:40000 > [::2]:4001", True): b"x"}
    for length in range(len(plain) - 1):
        said([Packet(1, plain[:length])])
    assert said([Packet(1, bytes(12) + b"\x08\x06" + bytes(28)), Packet(147, b"?")]) == {}


def test_decode_reads_each_direction_of_a_captured_connection_by_itself(tmp_path, capsys):
    question = bytes.fromhex("ff0186000000000079")
    packets = [
        tcp(CLIENT, SERVER, 1, flags=0x02),
        tcp(CLIENT, SERVER, 2, question),
        tcp(SERVER, CLIENT, 1, CO2[:4]),
        tcp(SERVER, CLIENT, 5, CO2[4:]),
        tcp(SERVER, CLIENT, 10, CO2),
    ]
    path = tmp_path / "line.pcapng"
    path.write_bytes(pcapng(packets))
    exit_code = run_command(["decode", "--device", "mhz19b", "--pcap", str(path)])
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    frames = [one for one in objects if "frame" in one]
    assert [(one["offset"], one["flow"], one["direction"]) for one in frames] == [
        (0, FLOW, "received"),
        (9, FLOW, "received"),
    ]
    (reject,) = [one for one in objects if "reject" in one]
    assert (exit_code, reject["direction"], reject["octets"]) == (1, "sent", question.hex())


def test_a_capture_by_others_is_read():
    path = Path(__file__).parents[2] / "golden/edge_frames/modbus_example.pcap"
    pieces = list(read_flows(read_packets(path.read_bytes())))
    assert pieces[0].octets == bytes.fromhex("000100000006040100010001")
    assert len(pieces) == 48
