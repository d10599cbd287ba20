"""The laws of finding frames, for every shipped profile: whatever comes, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.commands.decoded import DecodedFrame
from edge_agent.frames.frame_decoder import FrameDecoder
from edge_agent.frames.frame_reader import FrameReader
from edge_agent.settings.load_profiles import load_profiles

PROFILES = load_profiles()
FRAMES = {
    "bosch_mcu680": ["5a5a3f0f096a0ad0018b8300190000ccb00006f9"],
    "novafitness_sds011": ["aac00800080058d941ab"],
    "plantower_pms3003": ["424d001400000000000000000000000000000000005100f4"],
    "sensirion_sps30": [
        "7e0003002840df03da417d3162ae41279e32412c107d5e42307d5ed34255c04c425e0908425fa28a425fe4433f40fa1fff7e",
        "7e00030000fc7e",
        "7e00004300bc7e",
    ],
    "winsen_mhz19b": ["ff86027c42000000ba"],
    "winsen_ze08_ch2o": ["ff1704000025138825", "ff86002a0000002030"],
    "vaisala_wxt": [
        b"0R0,Dm=051D,Sm=0.1M,Ta=27.9C\r\n".hex(),
        b"0r1Goe\r\n".hex(),
    ],
    "vaisala_wxt_nmea": [b"$WIMWV,282,R,0.1,M,A*37\r\n".hex(), b"$WITXT,01,01,08,Use chksum 2F*72".hex()],
    "sdi12_crc": [b"0+3.14OqZ\r\n".hex()],
}
names = st.sampled_from(sorted(FRAMES))


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, bytes, list[tuple[int, bytes]]]:
    """A profile, a stream of frames, pieces of frames, spoilt frames and garbage, and where its frames stand."""
    name = draw(names)
    frames = [bytes.fromhex(octets) for octets in FRAMES[name]]
    stream, places = b"", []
    for _ in range(draw(st.integers(0, 6))):
        frame = draw(st.sampled_from(frames))
        kind = draw(st.sampled_from(["frame", "frame", "beginning", "spoilt", "garbage", "alphabet"]))
        if kind == "frame":
            places.append((len(stream), frame))
            stream += frame
        elif kind == "beginning":
            stream += frame[: draw(st.integers(0, len(frame) - 1))]
        elif kind == "spoilt":
            at = draw(st.integers(0, len(frame) - 1))
            stream += frame[:at] + draw(st.binary(min_size=1, max_size=1)) + frame[at + 1 :]
        elif kind == "garbage":
            stream += draw(st.binary(max_size=12))
        else:
            stream += bytes(draw(st.lists(st.sampled_from(sorted(set(frame))), max_size=12)))
    return name, stream, places


def cuts_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts})
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


@given(streams(), st.lists(st.integers(0, 1 << 16), max_size=8))
def test_however_a_stream_is_cut_it_holds_the_same_frames_and_rejects(
    drawn: tuple[str, bytes, list[tuple[int, bytes]]], cuts: list[int]
) -> None:
    name, stream, _ = drawn
    whole = FrameDecoder(PROFILES[name])
    at_once = [*whole.feed(stream), *whole.finish()]
    for pieces in (cuts_of(stream, cuts), [bytes([octet]) for octet in stream]):
        decoder = FrameDecoder(PROFILES[name])
        in_pieces = [found for piece in pieces for found in decoder.feed(piece)] + decoder.finish()
        assert in_pieces == at_once


@given(streams())
def test_each_byte_is_in_exactly_one_frame_or_reject_and_offsets_are_true(
    drawn: tuple[str, bytes, list[tuple[int, bytes]]],
) -> None:
    name, stream, _ = drawn
    decoder = FrameDecoder(PROFILES[name])
    found = [*decoder.feed(stream), *decoder.finish()]
    assert b"".join(one.octets for one in found) == stream
    assert [one.offset for one in found] == [sum(len(one.octets) for one in found[:at]) for at in range(len(found))]


@given(streams())
@example(("vaisala_wxt", b"0R0,0r1Goe\r\n", [(4, b"0r1Goe\r\n")]))
@example(("vaisala_wxt_nmea", b"$$$WIMWV,282,R,0.1,M,A*37\r\n", [(2, b"$WIMWV,282,R,0.1,M,A*37\r\n")]))
def test_nothing_hides_a_whole_frame_but_another_whole_frame(
    drawn: tuple[str, bytes, list[tuple[int, bytes]]],
) -> None:
    name, stream, places = drawn
    decoder = FrameDecoder(PROFILES[name])
    found = [*decoder.feed(stream), *decoder.finish()]
    # A refusal of the device is a reject, and a whole frame.
    whole = [one for one in found if isinstance(one, DecodedFrame) or one.octets.hex() in FRAMES[name]]
    covered = {at for one in whole for at in range(one.offset, one.offset + len(one.octets))}
    for offset, frame in places:
        ends = frame.rstrip(b"\r\n")  # a line is whole without its terminator
        assert covered & set(range(offset, offset + len(ends))), (stream, offset)


@pytest.mark.parametrize("name", sorted(FRAMES))
@pytest.mark.parametrize("octet", [0x00, 0x24, 0x30, 0x42, 0x52, 0x7E, 0xFF], ids=hex)
def test_endless_garbage_costs_bounded_memory(name: str, octet: int) -> None:
    reader = FrameReader(PROFILES[name])
    rejected = 0
    for _ in range(400):
        rejected += sum(len(one.octets) for one in reader.feed(bytes([octet]) * 100))
    assert 40_000 - rejected <= 2 * 4096
    assert rejected + sum(len(one.octets) for one in reader.finish()) == 40_000
