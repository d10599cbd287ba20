"""Quality reasons: stored codes that never change, and what each one means."""

from __future__ import annotations

import pytest

from contracts.quality import (
    REASONS,
    Level,
    Reason,
    SparkplugQuality,
    level_of,
    parse_reason,
    reason_of_modbus_exception,
    reason_of_sparkplug,
)

STORED_CODES = {
    0: "ok",
    1: "clock_suspect",
    2: "step_suspect",
    3: "flat_line",
    4: "incomplete",
    64: "no_answer",
    65: "crc_error",
    66: "malformed_frame",
    67: "line_lost",
    70: "modbus_illegal_function",
    71: "modbus_illegal_address",
    72: "modbus_illegal_value",
    73: "modbus_device_failure",
    74: "modbus_device_busy",
    75: "modbus_gateway_unavailable",
    76: "modbus_exception",
    80: "warm_up",
    81: "inhibited",
    82: "calibration",
    83: "device_fault",
    84: "not_installed",
    96: "out_of_range",
    97: "not_a_number",
    128: "bus_lost",
    129: "gateway_lost",
    130: "stale",
}
"""Frozen: rows are added here, never changed and never removed. Stores all over a city hold these codes."""


def test_the_stored_codes_are_what_they_always_were():
    told = {int(reason): reason.wire_name for reason in Reason}
    changed = {code: name for code, name in STORED_CODES.items() if told.get(code) != name}
    assert not changed, f"{changed}: a stored code was renumbered, renamed or removed; give a new reason a new code"
    added = set(told) - set(STORED_CODES)
    assert not added, f"{added}: add the new reason to STORED_CODES here, so that it is frozen from now on"


def test_no_two_names_share_a_code():
    assert len(Reason.__members__) == len(STORED_CODES), "an IntEnum makes the second name a silent alias of the first"


def test_every_reason_has_a_row_and_fits_a_byte():
    assert set(REASONS) == set(Reason)
    assert all(0 <= reason <= 255 for reason in Reason)


@pytest.mark.parametrize("reason", Reason)
def test_the_code_lies_in_the_block_of_its_level_and_sparkplug_quality(reason):
    row = REASONS[reason]
    if reason == 0:
        expected = (Level.GOOD, SparkplugQuality.GOOD)
    elif reason < 64:
        expected = (Level.UNCERTAIN, SparkplugQuality.GOOD)
    elif reason < 128:
        expected = (Level.BAD, SparkplugQuality.BAD)
    else:
        expected = (Level.BAD, SparkplugQuality.STALE)
    assert (row.level, row.sparkplug) == expected
    assert level_of(reason) is row.level


def test_every_text_is_for_people_and_none_stands_twice():
    texts = [row.text for row in REASONS.values()]
    assert len(set(texts)) == len(texts)
    assert all(text == text.strip() and text and not text.endswith(".") for text in texts)


@pytest.mark.parametrize("reason", Reason)
def test_a_wire_name_parses_back(reason):
    assert parse_reason(reason.wire_name) is reason


@pytest.mark.parametrize("name", ["", "OK", "No_Answer", "no answer", "unknown", "ok\n"])
def test_an_unknown_wire_name_is_none(name):
    assert parse_reason(name) is None


def test_the_sparkplug_qualities_are_those_of_the_specification():
    assert {quality.name: int(quality) for quality in SparkplugQuality} == {"BAD": 0, "GOOD": 192, "STALE": 500}


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_comes_back_from_the_two_properties_that_our_agent_sends(reason):
    row = REASONS[reason]
    quality = None if row.sparkplug is SparkplugQuality.GOOD else int(row.sparkplug)
    assert reason_of_sparkplug(quality, reason.wire_name) is reason


@pytest.mark.parametrize(
    ("quality", "reason_name", "expected"),
    [
        (None, None, Reason.OK),
        (192, None, Reason.OK),
        (192, "clock_suspect", Reason.CLOCK_SUSPECT),
        (0, None, Reason.DEVICE_FAULT),
        (500, None, Reason.STALE),
        (0, "tea_break", Reason.DEVICE_FAULT),
        (192, "tea_break", Reason.OK),
        (500, "tea_break", Reason.STALE),
        (1, None, Reason.DEVICE_FAULT),
        (-1, "no_answer", Reason.DEVICE_FAULT),
        (193, "ok", Reason.DEVICE_FAULT),
        # a reason that contradicts the quality loses to it
        (0, "ok", Reason.DEVICE_FAULT),
        (0, "stale", Reason.DEVICE_FAULT),
        (192, "no_answer", Reason.OK),
        (None, "no_answer", Reason.OK),
        (500, "no_answer", Reason.STALE),
    ],
)
def test_what_a_third_party_edge_node_may_send_has_a_reason(quality, reason_name, expected):
    assert reason_of_sparkplug(quality, reason_name) is expected


@pytest.mark.parametrize("quality", [0, 500, 1, -1, 191, 193, 2**31])
def test_a_quality_that_is_not_good_is_never_taken_as_good(quality):
    for name in (None, "", "tea_break", *(reason.wire_name for reason in Reason)):
        assert level_of(reason_of_sparkplug(quality, name)) is Level.BAD


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, Reason.MODBUS_ILLEGAL_FUNCTION),
        (2, Reason.MODBUS_ILLEGAL_ADDRESS),
        (3, Reason.MODBUS_ILLEGAL_VALUE),
        (4, Reason.MODBUS_DEVICE_FAILURE),
        (6, Reason.MODBUS_DEVICE_BUSY),
        (10, Reason.MODBUS_GATEWAY_UNAVAILABLE),
        (11, Reason.MODBUS_GATEWAY_UNAVAILABLE),
        *((code, Reason.MODBUS_EXCEPTION) for code in (0, 5, 7, 8, 9, 12, 127, 255)),
    ],
)
def test_a_modbus_exception_has_the_reason_of_its_code(code, reason):
    assert reason_of_modbus_exception(code) is reason
