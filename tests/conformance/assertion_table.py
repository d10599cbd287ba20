"""Which tests show which assertions of Sparkplug 3.0: the rows of a table, held against the specification's list."""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/sparkplug/sparkplug_assertions.json"
REASON_LENGTH_MIN = 40
"""A reason in so few letters says nothing."""


class AssertionTable:
    """The assertions of one profile, and the rows of `<profile>_assertions.toml`."""

    def __init__(self, profile: str) -> None:
        listed = json.loads(GOLDEN.read_text(encoding="utf-8"))["assertions"]
        self._file = f"{profile}_assertions.toml"
        self.assertions: Mapping[str, dict[str, Any]] = {
            name: assertion for name, assertion in listed.items() if profile in assertion["profiles"]
        }
        self.rows = tomllib.loads((ROOT / "tests/conformance" / self._file).read_text(encoding="utf-8"))

    def check_row(self, name: str) -> None:
        """An assertion has tests that exist, or a reason why nobody shows it."""
        row = self.rows.get(name)
        assert row is not None, f"{name} has no row in {self._file}: {self.assertions[name]['text']}"
        assert set(row) in ({"shown_by"}, {"not_applicable"}), f"{name}: either shown_by or not_applicable"
        reason = row.get("not_applicable", "")
        assert row.get("shown_by") or len(reason) > REASON_LENGTH_MIN, f"{name}: say who shows it, or why nobody"
        for test in row.get("shown_by", []):
            path, _, function = test.partition("::")
            assert (ROOT / path).is_file(), f"{name}: there is no file {path}"
            assert function in functions_of(path), f"{name}: {path} has no test {function}"

    def check_names(self) -> None:
        """Each row is about an assertion of the specification, and each test that a reason names is there."""
        assert not set(self.rows) - set(self.assertions)
        words = {word.strip("(),:;") for row in self.rows.values() for word in row.get("not_applicable", "").split()}
        named = {word for word in words if word.startswith("test_")}
        assert named
        assert named <= all_tests()


@cache
def functions_of(path: str) -> frozenset[str]:
    """The test functions that a file defines."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"), path)
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def all_tests() -> frozenset[str]:
    """Of the whole tree."""
    paths = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")]
    return frozenset().union(*(functions_of(str(path)) for path in paths))
