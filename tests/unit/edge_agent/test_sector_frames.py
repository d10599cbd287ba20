"""The laws of the search, held by both sector protocols: hypothesis makes the streams."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.quality import Reason
from edge_agent.commands.decoded import Rejected
from edge_agent.frames.frame_search import MAX_GARBAGE_BYTES, FoundFrame, FrameSearch
from edge_agent.gb26875 import gb26875_frame
from edge_agent.hj212 import hj212_frame
from simulators.gb26875_frame import make_frame as make_fire_frame
from simulators.hj212_frame import make_frame as make_station_frame

PROTOCOLS = {"hj212": hj212_frame.build_search, "gb26875_3": gb26875_frame.build_search}


def station_frame(number: int) -> bytes:
    return make_station_frame({"ST": "22", "CN": "2011", "MN": f"M{number}"}, f"a34004-Rtd={number}")


def fire_frame(number: int) -> bytes:
    return make_fire_frame(number, 2, bytes(number % 7), source=number, sent="2026-05-04 13:20:59")


MAKERS = {"hj212": station_frame, "gb26875_3": fire_frame}
GARBAGE = st.one_of(
    st.binary(max_size=40),
    st.text(alphabet="#0123@\r\nAF", max_size=30).map(str.encode),
    st.sampled_from([b"##", b"@@", b"##0101", b"@@@", b"###", b"\r\n", b"##0005"]),
)


def scan(search: FrameSearch, stream: bytes, cuts: list[int]) -> list:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    found = []
    for begin, end in itertools.pairwise(edges):
        found += search.feed(stream[begin:end])
    return found + search.finish()


@st.composite
def streams(draw, protocol: str) -> tuple[bytes, list[bytes]]:
    pieces, frames = [draw(GARBAGE)], []
    for number in draw(st.lists(st.integers(0, 65_535), max_size=4)):
        frame = MAKERS[protocol](number)
        kind = draw(st.sampled_from(["whole", "corrupt", "cut"]))
        if kind == "whole":
            frames.append(frame)
            pieces.append(frame)
        elif kind == "corrupt":
            at = draw(st.integers(0, len(frame) - 1))
            pieces.append(frame[:at] + bytes([frame[at] ^ 0x55]) + frame[at + 1 :])
        else:
            pieces.append(frame[: draw(st.integers(0, len(frame) - 1))])
        pieces.append(draw(GARBAGE))
    return b"".join(pieces), frames


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_split_gives_the_same_and_every_byte_stands_in_exactly_one_frame_or_reject(protocol, data):
    stream, _ = data.draw(streams(protocol))
    whole = scan(PROTOCOLS[protocol](), stream, [])
    assert scan(PROTOCOLS[protocol](), stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=8))) == whole
    assert scan(PROTOCOLS[protocol](), stream, list(range(len(stream)))) == whole
    assert b"".join(one.octets for one in whole) == stream
    assert [one.offset for one in whole] == [sum(len(one.octets) for one in whole[:at]) for at in range(len(whole))]
    assert all(one.detail and one.reason is not Reason.OK for one in whole if isinstance(one, Rejected))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(before=GARBAGE, between=GARBAGE, after=GARBAGE, numbers=st.tuples(st.integers(0, 99), st.integers(0, 99)))
@settings(max_examples=200, deadline=None)
def test_garbage_never_hides_a_whole_frame(protocol, before, between, after, numbers):
    first, second = (MAKERS[protocol](number) for number in numbers)
    found = scan(PROTOCOLS[protocol](), before + first + between + second + after, [])
    assert [one.octets for one in found if isinstance(one, FoundFrame)] == [first, second]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_endless_garbage_is_given_back_in_bounded_pieces(protocol):
    search = PROTOCOLS[protocol]()
    given_back = []
    for _ in range(200):
        given_back += search.feed(b"#@ 7" * 64)
        assert len(search._pending) <= 2 * MAX_GARBAGE_BYTES
    assert {len(one.octets) for one in given_back} == {MAX_GARBAGE_BYTES}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_frame_whose_check_is_wrong_is_refused_at_once_because_its_sender_waits(protocol):
    frame = MAKERS[protocol](3)
    wrong = frame[:-7] + bytes([frame[-7] ^ 1]) + frame[-6:] if protocol == "hj212" else frame[:-3] + b"\0" + frame[-2:]
    search = PROTOCOLS[protocol]()
    (reject,) = search.feed(wrong)
    assert (reject.reason, reject.octets) == (Reason.CRC_ERROR, wrong)
    assert not search.is_in_frame


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_has_begun_waits_and_is_given_up_by_finish(protocol):
    frame = MAKERS[protocol](3)
    search = PROTOCOLS[protocol]()
    assert search.feed(frame[:-1]) == []
    assert search.is_in_frame
    (reject,) = search.finish()
    assert (reject.reason, reject.octets) == (Reason.MALFORMED_FRAME, frame[:-1])
    assert [type(one) for one in search.feed(frame)] == [FoundFrame]
