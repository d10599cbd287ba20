"""Every edge assertion of Sparkplug 3.0 has a named test that exists, or a stated reason. See edge_assertions.toml."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.conformance.assertion_table import AssertionTable

TABLE = AssertionTable("edge")


def test_the_specification_has_151_musts_of_the_edge_node_alone_and_7_sentences_that_may_or_should():
    levels = Counter(each["level"] for each in TABLE.assertions.values() if each["profiles"] == ["edge"])
    assert levels == {"MUST": 151, "MAY": 4, "SHOULD": 3}


@pytest.mark.parametrize("name", TABLE.assertions)
def test_an_assertion_has_tests_that_exist_or_a_reason(name):
    TABLE.check_row(name)


def test_every_row_is_about_an_assertion_and_every_test_that_a_reason_names_exists():
    TABLE.check_names()
