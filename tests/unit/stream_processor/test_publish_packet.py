"""PUBLISH packets of QoS 0 are taken out of the broker's stream in its order; all other octets come out as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from stream_processor.publish_packet import SIEVED_BYTES_MAX, PublishSieve, encode_publish

TOPIC = "spBv1.0/harbour/DDATA/gw-1/bus-1"
CONNACK, SUBACK, PINGRESP = b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x01", b"\xd0\x00"


def length_of(number: int) -> bytes:
    """MQTT 5.0, section 1.5.5, by its own pseudo code."""
    octets = b""
    while True:
        number, digit = divmod(number, 128)
        octets += bytes([digit | 0x80 if number else digit])
        if not number:
            return octets


def packet(
    topic: bytes = TOPIC.encode(), payload: bytes = b"", first: int = 0x30, properties: bytes | None = b"\x00"
) -> bytes:
    message_id = b"\x00\x07" if first & 0x06 else b""
    body = len(topic).to_bytes(2, "big") + topic + message_id + (properties or b"") + payload
    return bytes([first]) + length_of(len(body)) + body


def sifted(*fed: bytes, has_properties: bool = True, size: int = 4096) -> tuple[list[tuple[str, bytes]], bytes]:
    """What is handed on, and what comes out."""
    taken: list[tuple[str, bytes]] = []
    sieve = PublishSieve(lambda topic, payload: taken.append((topic, payload)), has_properties=has_properties)
    out = b""
    for octets in fed:
        sieve.feed(octets)
        while octets := sieve.read(size):
            out += octets
        assert not sieve.may_hold_more
    return taken, out


def octet_by_octet(octets: bytes) -> list[bytes]:
    return [octets[at : at + 1] for at in range(len(octets))]


@pytest.mark.parametrize("has_properties", [True, False])
def test_a_message_is_handed_on_with_its_topic_and_payload(has_properties):
    octets = packet(payload=b"\x08\x01", properties=b"\x00" if has_properties else None)
    assert sifted(octets, has_properties=has_properties) == ([(TOPIC, b"\x08\x01")], b"")
    assert sifted(*octet_by_octet(octets), has_properties=has_properties) == ([(TOPIC, b"\x08\x01")], b"")


def test_a_retained_or_empty_message_is_one_too():
    assert sifted(packet(first=0x31), packet(payload=b"x")) == ([(TOPIC, b""), (TOPIC, b"x")], b"")


def test_properties_are_passed_over():
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "application/sparkplug"
    properties.UserProperty = ("unit", "x" * 200)
    assert sifted(packet(payload=b"x", properties=properties.pack())) == ([(TOPIC, b"x")], b"")


@pytest.mark.parametrize("size", [1, 3, 4096])
def test_other_packets_come_out_whole_and_in_order(size):
    other = packet(first=0x32, payload=b"with QoS 1")
    stream = CONNACK + packet(payload=b"1") + SUBACK + other + packet(payload=b"2") + PINGRESP
    taken = [(TOPIC, b"1"), (TOPIC, b"2")]
    assert sifted(stream, size=size) == (taken, CONNACK + SUBACK + other + PINGRESP)
    assert sifted(*octet_by_octet(stream), size=size) == (taken, CONNACK + SUBACK + other + PINGRESP)


def test_a_message_is_not_handed_on_before_the_packet_that_came_before_it_is_read():
    taken: list[str] = []
    sieve = PublishSieve(lambda topic, _: taken.append(topic), has_properties=True)
    death = packet(first=0x32, payload=b"NDEATH")
    sieve.feed(death + packet())
    assert sieve.read(len(death) - 1) == death[:-1]
    assert not taken
    assert sieve.may_hold_more
    assert sieve.read(100) == death[-1:]
    assert not taken
    assert sieve.may_hold_more
    assert sieve.read(100) == b""
    assert taken == [TOPIC]
    assert not sieve.may_hold_more


def test_a_packet_beyond_the_bound_is_left_to_the_library_as_it_comes():
    large = packet(payload=bytes(SIEVED_BYTES_MAX))
    taken, out = sifted(large[:100], large[100:] + packet(payload=b"x"))
    assert (taken, out == large) == ([(TOPIC, b"x")], True)
    almost = packet(payload=bytes(SIEVED_BYTES_MAX - 100))
    assert sifted(almost[:70_000], almost[70_000:]) == ([(TOPIC, bytes(SIEVED_BYTES_MAX - 100))], b"")


@pytest.mark.parametrize(
    "wrong",
    [
        packet(topic=b""),  # a topic alias, which we have not allowed
        packet(topic=b"\xff\xfe"),
        b"\x30\x02\x00\x09",  # the topic is longer than the packet
        b"\x30\x04\x00\x01a\x09",  # and so are the properties
        b"\x30\x01\x00",
        b"\x30\x00",
    ],
)
def test_what_is_wrong_is_for_the_library_to_say(wrong):
    assert sifted(wrong + packet(payload=b"x")) == ([(TOPIC, b"x")], wrong)
    assert sifted(*octet_by_octet(wrong + packet(payload=b"x"))) == ([(TOPIC, b"x")], wrong)


def test_a_length_that_never_ends_comes_out_too():
    endless = b"\x30\xff\xff\xff\xff\xff\xff"
    assert sifted(endless) == ([], endless)


def test_what_we_encode_is_a_packet_of_the_same_octets():
    for size in (0, 1, 127, 128, 16_383, 20_000):
        payload = bytes(size)
        assert encode_publish(TOPIC, payload, has_properties=True) == packet(payload=payload)
        assert encode_publish(TOPIC, payload, has_properties=False) == packet(payload=payload, properties=None)
    assert encode_publish("spBv1.0/häfen/NCMD/g", b"", has_properties=False)[2:4] == b"\x00\x15"


streams = st.lists(
    st.one_of(
        st.binary(max_size=300).map(lambda payload: packet(payload=payload)),
        st.binary(max_size=300).map(lambda payload: packet(payload=payload, first=0x32)),
        st.sampled_from([CONNACK, SUBACK, PINGRESP]),
    ),
    max_size=8,
)


@given(streams, st.data())
def test_however_a_stream_is_cut_nothing_is_lost_and_nothing_changes_places(packets, data):
    stream = b"".join(packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[low:high] for low, high in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = [each for each in packets if each[0] == 0x30]
    taken, out = sifted(*pieces, size=data.draw(st.integers(1, 500)))
    assert [packet(topic.encode(), payload) for topic, payload in taken] == whole
    assert out == b"".join(each for each in packets if each[0] != 0x30)


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_any_octets_are_taken_without_complaint(pieces):
    sifted(*pieces)
