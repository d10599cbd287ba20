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
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n    needs_shared: x\n    needs_mosquitto: x\n    needs_kafka: x\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**{name: os.environ[name] for name in os.environ if not name.startswith("CITYSENSE_")}, **environment},
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


NO_KAFKA = "@pytest.mark.needs_kafka\ndef test_a(): assert False\ndef test_b(): ..."


def empty_machine(folder: Path) -> dict[str, str]:
    """An environment with no servers in the cache and none installed, where our packages are found."""
    (folder / "bin").mkdir()
    packages = str(CONFTEST.parents[1])
    return {"CITYSENSE_CACHE": str(folder / "cache"), "PATH": str(folder / "bin"), "PYTHONPATH": packages}


def test_an_optional_server_that_is_absent_is_named_as_such_and_fails_no_run(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, NO_KAFKA, CITYSENSE_REQUIRE_ALL="1", **empty_machine(tmp_path))
    assert "tests/test_it.py::test_a: optional server: kafka: not in the cache of this machine" in run.stdout
    assert "a left-out test is a failure" not in run.stdout
    assert run.returncode == 0


def test_the_run_that_is_for_the_servers_fails_without_them(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, NO_KAFKA, CITYSENSE_REQUIRE_STACK="1", **empty_machine(tmp_path))
    assert "a left-out test is a failure" in run.stdout
    assert run.returncode == 1


def test_a_test_that_also_needs_something_required_is_not_excused(tmp_path: Path) -> None:
    body = f"@pytest.mark.needs_shared\n{NO_KAFKA}"
    run = run_pytest(tmp_path, body, CITYSENSE_REQUIRE_ALL="1", **empty_machine(tmp_path))
    assert run.returncode == 1


def test_many_deselected_tests_are_counted_and_not_named(tmp_path: Path) -> None:
    body = "@pytest.mark.parametrize('n', range(30))\ndef test_a(n): ...\ndef test_b(): ..."
    run = run_pytest(tmp_path, body, "-k", "test_b", CITYSENSE_REQUIRE_ALL="1")
    assert "30 tests: deselected on the command line" in run.stdout
    assert "test_a[7]" not in run.stdout
    assert run.returncode == 1


def test_a_complete_run_says_that_nothing_was_left_out(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, "def test_a(): ...", CITYSENSE_REQUIRE_ALL="1")
    assert "LEFT OUT: nothing" in run.stdout
    assert run.returncode == 0
