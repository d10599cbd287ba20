"""Identifiers: one grammar, the same for the plain function and for the typed models."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from contracts.identifiers import (
    CHANNEL_ID_MAX,
    ChannelId,
    Identifier,
    format_metric_name,
    is_identifier,
    parse_metric_name,
)

GOOD = ["a", "0", "gw-1", "north_2", "v1.0", "pm2_5", "a" * 64, "a--b", "1.2.3"]
BAD = [
    "", "-a", "a-", ".", "_a", "a_", "A", "Gw-1", "a b", "a/b", "a+b", "a#", "ä", "桥", "٣", "a\n", "\na", "a\0",
    "a" * 65, "a,b", "a=b", "a%b", "../a",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_an_identifier_is_one_for_the_function_and_for_the_model(text):
    assert is_identifier(text)
    assert TypeAdapter(Identifier).validate_python(text) == text


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_identifier_is_none_for_the_function_nor_for_the_model(text):
    assert not is_identifier(text)
    with pytest.raises(ValidationError):
        TypeAdapter(Identifier).validate_python(text)


@pytest.mark.parametrize("number", [0, -1, CHANNEL_ID_MAX + 1, 1.5, None])
def test_a_channel_number_is_from_1_to_the_highest_u32(number):
    assert TypeAdapter(ChannelId).validate_python(1) == 1
    assert TypeAdapter(ChannelId).validate_python(2**32 - 1) == 2**32 - 1
    with pytest.raises(ValidationError):
        TypeAdapter(ChannelId).validate_python(number)


def test_a_metric_name_names_node_and_quantity():
    assert format_metric_name("gas-1", "methane_lel") == "gas-1/methane_lel"
    assert parse_metric_name("gas-1/methane_lel") == ("gas-1", "methane_lel")


@pytest.mark.parametrize(
    "name", ["", "/", "gas-1", "gas-1/", "/methane", "bdSeq", "Node Control/Rebirth", "Uplink/Epoch", "a/b/c", "a/b\n"]
)
def test_a_metric_that_is_no_channel_of_ours_parses_to_none(name):
    assert parse_metric_name(name) is None
