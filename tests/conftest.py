"""What every test run says at its end: which tests were left out, and why.

A marker `needs_…` names something that a machine may not have. Where it is absent the test is skipped with the
reason; the section LEFT OUT lists all of them. With CITYSENSE_REQUIRE_ALL=1 a left-out test fails the run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

REQUIRE_ALL: Final = "CITYSENSE_REQUIRE_ALL"
SHARED: Final = Path(__file__).parents[2] / "shared"
_LEFT_OUT = pytest.StashKey[dict[str, str]]()


def _mosquitto() -> str | None:
    if shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin"):
        return None
    return "mosquitto is not installed (Debian: apt install mosquitto)"


def _chromium() -> str | None:
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return None
    return "chromium or its driver is not installed (Debian: apt install chromium chromium-driver)"


def _shared() -> str | None:
    return None if SHARED.is_dir() else "the project's shared vectors are not beside the checkout (../shared)"


NEEDS: Final[Mapping[str, Callable[[], str | None]]] = {
    "needs_mosquitto": _mosquitto,
    "needs_chromium": _chromium,
    "needs_shared": _shared,
}


def pytest_configure(config: pytest.Config) -> None:
    """Begins the list of what is left out."""
    config.stash[_LEFT_OUT] = {}
    config.pluginmanager.register(_Recorder(config), "citysense-left-out")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips each test whose marker names something absent."""
    absent = {marker: reason for marker, check in NEEDS.items() if (reason := check()) is not None}
    for item in items:
        for marker, reason in absent.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


class _Recorder:
    """Notes every skipped test or module, whatever skipped it."""

    def __init__(self, config: pytest.Config) -> None:
        self._left_out = config.stash[_LEFT_OUT]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._left_out[report.nodeid] = _reason(report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._left_out[report.nodeid] = _reason(report.longrepr)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._left_out.update({item.nodeid: "deselected on the command line" for item in items})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run if a test was left out and none may be."""
    if session.config.stash[_LEFT_OUT] and os.environ.get(REQUIRE_ALL) == "1" and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Writes the section LEFT OUT."""
    left_out = config.stash[_LEFT_OUT]
    if not left_out:
        terminalreporter.write_line("LEFT OUT: nothing")
        return
    terminalreporter.section(f"LEFT OUT: {len(left_out)}")
    for nodeid, reason in sorted(left_out.items()):
        terminalreporter.write_line(f"{nodeid}: {reason}")
    if os.environ.get(REQUIRE_ALL) == "1":
        terminalreporter.write_line(f"{REQUIRE_ALL}=1: a left-out test is a failure", red=True)


def _reason(longrepr: object) -> str:
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ")
