"""The laws of every decoder that `edge-agent decode` knows: profiles of frames and registers, and protocols."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.quantity import QUANTITIES
from edge_agent.commands.decode import Decodable, list_decodable
from edge_agent.commands.decoded import DecodedFrame, describe_decoded
from edge_agent.settings.load_profiles import load_profiles

DECODABLE = list_decodable(load_profiles())
GOLDEN = Path(__file__).parents[1] / "golden"


def octets_of(parent: Any) -> list[bytes]:
    """All hexadecimal frames and texts of a file of vectors, wherever they stand in it."""
    if isinstance(parent, dict):
        found = [
            bytes.fromhex(text)
            for key, text in parent.items()
            if key.endswith("hex") and isinstance(text, str) and text
        ]
        found += [text.encode() + b"\r\n" for key, text in parent.items() if key == "text" and isinstance(text, str)]
        return found + [one for child in parent.values() for one in octets_of(child)]
    return [one for child in parent for one in octets_of(child)] if isinstance(parent, list) else []


FRAMES = [
    octets
    for path in sorted(GOLDEN.glob("edge_*/*.json"))
    for octets in octets_of(json.loads(path.read_text(encoding="utf-8")))
    if len(octets) < 600
]
pieces = st.one_of(
    st.sampled_from(FRAMES),
    st.sampled_from(FRAMES).flatmap(lambda frame: st.integers(0, len(frame)).map(lambda end: frame[:end])),
    st.binary(max_size=20),
)
streams = st.lists(pieces, max_size=5).map(b"".join)
each_decodable = pytest.mark.parametrize("decodable", DECODABLE, ids=lambda one: one.name)


def decode(decodable: Decodable, stream: bytes, piece_bytes: int) -> list[Any]:
    decoder = decodable.source.build()
    found = []
    for at in range(0, len(stream), piece_bytes):
        found += decoder.feed(stream[at : at + piece_bytes])
    return found + decoder.finish()


@each_decodable
@settings(max_examples=40)
@given(streams, st.integers(1, 9))
def test_whatever_comes_is_decoded_or_rejected_byte_for_byte_and_the_cut_makes_no_difference(
    decodable: Decodable, stream: bytes, piece_bytes: int
) -> None:
    at_once = decode(decodable, stream, len(stream) or 1)
    assert b"".join(one.octets for one in at_once) == stream
    assert [one.offset for one in at_once] == [
        sum(len(one.octets) for one in at_once[:at]) for at in range(len(at_once))
    ]
    assert decode(decodable, stream, piece_bytes) == at_once


@each_decodable
@settings(max_examples=40)
@given(streams)
def test_what_is_shown_is_json_with_quantities_of_the_table_and_a_reason_for_each_missing_value(
    decodable: Decodable, stream: bytes
) -> None:
    for one in decode(decodable, stream, 64):
        shown = json.loads(json.dumps(describe_decoded(one, decodable.name), allow_nan=False))
        assert ("frame" in shown) == isinstance(one, DecodedFrame)
        for reading in shown.get("readings", []):
            assert reading["quantity"] in QUANTITIES
            assert reading["value"] is not None or "reason" in reading


@each_decodable
@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), pieces), max_size=6))
def test_both_directions_of_a_connection_keep_every_byte_of_theirs(
    decodable: Decodable, turns: list[tuple[bool, bytes]]
) -> None:
    pair = decodable.source.build_pair()
    kept = [b"", b""]
    for is_second, octets in turns:
        kept[is_second] += b"".join(one.octets for one in pair[is_second].feed(octets))
    for side in (0, 1):
        kept[side] += b"".join(one.octets for one in pair[side].finish())
        assert kept[side] == b"".join(octets for is_second, octets in turns if is_second == bool(side))
