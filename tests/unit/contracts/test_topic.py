"""Sparkplug topics: what parses, what does not, and what a wrong one is told."""

from __future__ import annotations

import pytest

from contracts.errors import ContractError, TopicError
from contracts.sparkplug.topic import MessageType, StateTopic, Topic, parse_topic

TOPICS = {
    "spBv1.0/north/NBIRTH/gw-1": Topic(MessageType.NBIRTH, "north", "gw-1"),
    "spBv1.0/north/NDEATH/gw-1": Topic(MessageType.NDEATH, "north", "gw-1"),
    "spBv1.0/north/NDATA/gw-1": Topic(MessageType.NDATA, "north", "gw-1"),
    "spBv1.0/north/NCMD/gw-1": Topic(MessageType.NCMD, "north", "gw-1"),
    "spBv1.0/north/DBIRTH/gw-1/bus-1": Topic(MessageType.DBIRTH, "north", "gw-1", "bus-1"),
    "spBv1.0/north/DDEATH/gw-1/bus-1": Topic(MessageType.DDEATH, "north", "gw-1", "bus-1"),
    "spBv1.0/north/DDATA/gw-1/bus-1": Topic(MessageType.DDATA, "north", "gw-1", "bus-1"),
    "spBv1.0/north/DCMD/gw-1/bus-1": Topic(MessageType.DCMD, "north", "gw-1", "bus-1"),
    "spBv1.0/STATE/citysense": StateTopic("citysense"),
    "spBv1.0/Sparkplug B Devices/DDATA/Raspberry Pi/桥": Topic(
        MessageType.DDATA, "Sparkplug B Devices", "Raspberry Pi", "桥"
    ),
}


@pytest.mark.parametrize(("text", "topic"), TOPICS.items(), ids=TOPICS)
def test_a_topic_parses_and_formats_back(text, topic):
    assert parse_topic(text) == topic
    assert str(topic) == text


def test_every_message_type_is_in_the_table_above():
    assert {topic.message_type for topic in TOPICS.values() if isinstance(topic, Topic)} == set(MessageType)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not in the namespace"),
        ("spAv1.0/north/NBIRTH/gw", "not in the namespace"),
        ("spbv1.0/north/NBIRTH/gw", "not in the namespace"),
        ("/spBv1.0/north/NBIRTH/gw", "not in the namespace"),
        ("$SYS/broker/uptime", "not in the namespace"),
        ("spBv1.0", "1 elements"),
        ("spBv1.0/north", "2 elements"),
        ("spBv1.0/STATE", "2 elements"),
        ("spBv1.0/STATE/", "'' is no topic element"),
        ("spBv1.0/north/NBIRTH", "3 elements"),
        ("spBv1.0/north/NBIRTH/gw/bus", "NBIRTH must not have a device id"),
        ("spBv1.0/north/DBIRTH/gw", "DBIRTH needs a device id"),
        ("spBv1.0/north/DDATA/gw/bus/more", "6 elements"),
        ("spBv1.0/north/nbirth/gw", "'nbirth' is no Sparkplug message type"),
        ("spBv1.0/north/STATE/gw", "'STATE' is no Sparkplug message type"),
        ("spBv1.0/STATE/NBIRTH/gw", "must not be named STATE"),
        ("spBv1.0//NBIRTH/gw", "'' is no topic element"),
        ("spBv1.0/north/NBIRTH/", "'' is no topic element"),
        ("spBv1.0/north/DDATA/gw/", "'' is no topic element"),
        ("spBv1.0/+/NBIRTH/gw", "is no topic element"),
        ("spBv1.0/north/DDATA/gw/#", "is no topic element"),
        ("spBv1.0/north/NBIRTH/g\0w", "is no topic element"),
    ],
)
def test_what_is_no_topic_is_told_why(text, why):
    with pytest.raises(TopicError, match=why.replace("$", r"\$")) as caught:
        parse_topic(text)
    assert isinstance(caught.value, ContractError)


@pytest.mark.parametrize("element", ["", "a/b", "+", "a#", "\0"])
def test_a_topic_that_no_broker_would_take_cannot_be_made(element):
    for make in (
        lambda: StateTopic(element),
        lambda: Topic(MessageType.NDATA, element, "gw"),
        lambda: Topic(MessageType.NDATA, "north", element),
        lambda: Topic(MessageType.DDATA, "north", "gw", element),
    ):
        with pytest.raises(TopicError):
            make()


def test_four_message_types_are_of_devices_and_two_are_commands():
    assert {kind for kind in MessageType if kind.is_of_device} == {
        MessageType.DBIRTH,
        MessageType.DDEATH,
        MessageType.DDATA,
        MessageType.DCMD,
    }
    assert {kind for kind in MessageType if kind.is_command} == {MessageType.NCMD, MessageType.DCMD}
