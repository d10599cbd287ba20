"""Every host assertion of Sparkplug 3.0 has a named test that exists, or a stated reason. See host_assertions.toml."""

from __future__ import annotations

import pytest

from tests.conformance.assertion_table import GOLDEN, ROOT, AssertionTable

SHARED = ROOT.parent / "shared/vectors/sparkplug_assertions.json"
TABLE = AssertionTable("host")


def test_the_specification_has_76_musts_of_the_host_alone_and_5_that_it_shares_with_the_monitor():
    musts = [tuple(each["profiles"]) for each in TABLE.assertions.values() if each["level"] == "MUST"]
    assert musts.count(("host",)) == 76
    assert musts.count(("Monitor", "host")) == 5


@pytest.mark.parametrize("name", TABLE.assertions)
def test_an_assertion_has_tests_that_exist_or_a_reason(name):
    TABLE.check_row(name)


def test_every_row_is_about_an_assertion_and_every_test_that_a_reason_names_exists():
    TABLE.check_names()


@pytest.mark.needs_shared
def test_the_golden_copy_equals_the_shared_assertions():
    assert GOLDEN.read_bytes() == SHARED.read_bytes(), f"copy {SHARED} over {GOLDEN}"
