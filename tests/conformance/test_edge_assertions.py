"""Every edge assertion of Sparkplug 3.0 has a named test that exists, or a stated reason. See edge_assertions.toml."""

from __future__ import annotations

import json
import tomllib
from collections import Counter

import pytest

from tests.conformance.test_host_assertions import GOLDEN, ROOT, all_tests, functions_of

ASSERTIONS = {
    name: assertion
    for name, assertion in json.loads(GOLDEN.read_text(encoding="utf-8"))["assertions"].items()
    if "edge" in assertion["profiles"]
}
ROWS = tomllib.loads((ROOT / "tests/conformance/edge_assertions.toml").read_text(encoding="utf-8"))


def test_the_specification_has_151_musts_of_the_edge_node_alone_and_7_sentences_that_may_or_should():
    levels = Counter(each["level"] for each in ASSERTIONS.values() if each["profiles"] == ["edge"])
    assert levels == {"MUST": 151, "MAY": 4, "SHOULD": 3}


@pytest.mark.parametrize("name", ASSERTIONS)
def test_an_assertion_has_tests_that_exist_or_a_reason(name):
    row = ROWS.get(name)
    assert row is not None, f"{name} has no row in edge_assertions.toml: {ASSERTIONS[name]['text']}"
    assert set(row) in ({"shown_by"}, {"not_applicable"}), f"{name}: either shown_by or not_applicable"
    assert row.get("shown_by") or len(row.get("not_applicable", "")) > 40, f"{name}: say who shows it, or why nobody"
    for test in row.get("shown_by", []):
        path, _, function = test.partition("::")
        assert (ROOT / path).is_file(), f"{name}: there is no file {path}"
        assert function in functions_of(path), f"{name}: {path} has no test {function}"


def test_no_row_is_about_an_assertion_that_the_specification_does_not_have():
    assert not set(ROWS) - set(ASSERTIONS)


def test_a_test_that_a_reason_names_exists():
    words = {word.strip("(),:;") for row in ROWS.values() for word in row.get("not_applicable", "").split()}
    named = {word for word in words if word.startswith("test_")}
    assert named
    assert named <= all_tests()
