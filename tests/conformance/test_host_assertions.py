"""Every host assertion of Sparkplug 3.0 has a named test that exists, or a stated reason. See host_assertions.toml."""

from __future__ import annotations

import ast
import json
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/sparkplug/sparkplug_assertions.json"
SHARED = ROOT.parent / "shared/vectors/sparkplug_assertions.json"
ASSERTIONS = {
    name: assertion
    for name, assertion in json.loads(GOLDEN.read_text(encoding="utf-8"))["assertions"].items()
    if "host" in assertion["profiles"]
}
ROWS = tomllib.loads((ROOT / "tests/conformance/host_assertions.toml").read_text(encoding="utf-8"))


@cache
def functions_of(path: str) -> frozenset[str]:
    """The test functions that a file defines."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"), path)
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def all_tests() -> frozenset[str]:
    paths = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")]
    return frozenset().union(*(functions_of(str(path)) for path in paths))


def test_the_specification_has_76_musts_of_the_host_alone_and_5_that_it_shares_with_the_monitor():
    musts = [tuple(each["profiles"]) for each in ASSERTIONS.values() if each["level"] == "MUST"]
    assert musts.count(("host",)) == 76
    assert musts.count(("Monitor", "host")) == 5


@pytest.mark.parametrize("name", ASSERTIONS)
def test_an_assertion_has_tests_that_exist_or_a_reason(name):
    row = ROWS.get(name)
    assert row is not None, f"{name} has no row in host_assertions.toml: {ASSERTIONS[name]['text']}"
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


@pytest.mark.needs_shared
def test_the_golden_copy_equals_the_shared_assertions():
    assert GOLDEN.read_bytes() == SHARED.read_bytes(), f"copy {SHARED} over {GOLDEN}"
