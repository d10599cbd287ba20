"""Messages of Kafka: which are condition events, and why the others are none."""

from __future__ import annotations

import json

import pytest

from alarm_service.condition_message import SourceMessage, parse_messages, refuse


def message(value, offset=0):
    return SourceMessage("alarm.conditions", 3, offset, 1_790_000_000_000, value)


def test_events_come_out_in_their_order_beside_what_is_none(make_event):
    events = [make_event("active", 1.0), make_event("normal", 2.0)]
    values = [events[0].model_dump_json().encode(), b"{", events[1].model_dump_json().encode()]
    messages = [message(value, offset) for offset, value in enumerate(values)]
    parsed = parse_messages(messages)
    assert parsed.events == [(messages[0], events[0]), (messages[2], events[1])]
    assert [(refused.partition, refused.offset, refused.message) for refused in parsed.refused] == [(3, 1, b"{")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"priority": 9}, "priority: Input should be less than or equal to 4"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"event_id": "xyz"}, "event_id: String should match pattern"),
        ({"value": "NaN"}, "value: Input should be a finite number"),
        ({"phenomenon_ns": 2**63}, "phenomenon_ns: Input should be less than"),
    ],
)
def test_a_refusal_names_what_is_wrong(make_event, change, reason):
    value = json.dumps(make_event("active", 1.0).model_dump(mode="json") | change).encode()
    (refused,) = parse_messages([message(value)]).refused
    assert refused.reason.startswith(reason)
    assert refused.message == value


@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe", b"[]", b"null", b'"x"', b"{" * 5_000])
def test_bytes_that_are_no_event_are_refused_with_a_reason(value):
    parsed = parse_messages([message(value)])
    assert (parsed.events, len(parsed.refused)) == ([], 1)
    assert parsed.refused[0].reason


def test_a_message_with_many_faults_names_the_first_and_counts_the_rest():
    (refused,) = parse_messages([message(b"{}")]).refused
    assert refused.reason.endswith("; and 13 more")


def test_what_the_journal_refuses_is_kept_with_its_words():
    refused = refuse(message(b"x", 7), "never")
    assert (refused.topic, refused.offset, refused.reason, refused.message) == ("alarm.conditions", 7, "never", b"x")
