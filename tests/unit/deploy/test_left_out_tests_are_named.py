"""The promise of `make test`: what was left out is said at the end, and CI can forbid it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"


def run_pytest(folder: Path, body: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a one-file project that has our conftest."""
    tests = folder / "tests"
    tests.mkdir()
    shutil.copy(CONFTEST, tests)
    (tests / "test_it.py").write_text(f"import pytest\n{body}\n")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    needs_shared: x\n    needs_mosquitto: x\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**{name: value for name, value in os.environ.items() if name != "CITYSENSE_REQUIRE_ALL"}, **environment},
    )


def test_a_skipped_test_is_named_with_its_reason(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, "@pytest.mark.skip(reason='no radio')\ndef test_a(): ...")
    assert "LEFT OUT: 1" in run.stdout
    assert "tests/test_it.py::test_a: no radio" in run.stdout
    assert run.returncode == 0


def test_a_marker_for_something_absent_skips_the_test(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, "@pytest.mark.needs_shared\ndef test_a(): assert False")
    assert "shared vectors are not beside the checkout" in run.stdout
    assert run.returncode == 0


def test_a_module_that_skips_itself_is_named(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, "pytest.skip('no serial port', allow_module_level=True)")
    assert "tests/test_it.py: no serial port" in run.stdout


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ("@pytest.mark.skip(reason='x')\ndef test_a(): ...\ndef test_b(): ...", []),
        ("def test_a(): ...\ndef test_b(): ...", ["-k", "b"]),
    ],
    ids=["skipped", "deselected"],
)
def test_where_all_are_required_a_left_out_test_fails_the_run(tmp_path: Path, body: str, arguments: list[str]) -> None:
    run = run_pytest(tmp_path, body, *arguments, CITYSENSE_REQUIRE_ALL="1")
    assert "a left-out test is a failure" in run.stdout
    assert run.returncode == 1


def test_a_complete_run_says_that_nothing_was_left_out(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, "def test_a(): ...", CITYSENSE_REQUIRE_ALL="1")
    assert "LEFT OUT: nothing" in run.stdout
    assert run.returncode == 0
