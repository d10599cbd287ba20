"""What every test run says at its end: which tests were left out, and why.

A marker `needs_…` names something that a machine may not have. Where it is absent the test is skipped with the
reason; the section LEFT OUT lists all of them. With CITYSENSE_REQUIRE_ALL=1 a left-out test fails the run, except
those of the optional servers, which are built once on a machine (`make stack`): CITYSENSE_REQUIRE_STACK=1, set by
`make test-stack`, requires these too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import pytest

REQUIRE_ALL: Final = "CITYSENSE_REQUIRE_ALL"
REQUIRE_STACK: Final = "CITYSENSE_REQUIRE_STACK"
SHARED: Final = Path(__file__).parents[2] / "shared"
DESELECTED: Final = "deselected on the command line"
MOST_DESELECTED_NAMED: Final = 20
"""A chosen group of tests leaves out all others: these are then counted, not named."""
_LEFT_OUT = pytest.StashKey[dict[str, str]]()
_OPTIONAL = pytest.StashKey[dict[str, str]]()


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


def _server(name: str) -> str | None:
    from deploy.stack.find_servers import why_not  # only where a collected test needs a server

    return why_not(name, may_make=False)


def _influxdb_1() -> str | None:
    from deploy.stack.build_influxdb_1 import influxdb_1_entry  # only where a collected test needs it

    if influxdb_1_entry().is_dir():
        return None
    return "InfluxDB 1.8 is not in the cache of this machine (python -m deploy.stack.build_influxdb_1 builds it)"


NEEDS: Final[Mapping[str, Callable[[], str | None]]] = {
    "needs_mosquitto": _mosquitto,
    "needs_chromium": _chromium,
    "needs_shared": _shared,
}
OPTIONAL_SERVERS: Final[Mapping[str, Callable[[], str | None]]] = {
    f"needs_{name}": partial(_server, name) for name in ("influxdb", "kafka", "postgresql")
} | {"needs_influxdb_1": _influxdb_1}


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[object]:
    """One real PostgreSQL for all tests of a run that are marked needs_postgresql."""
    from tests.running_postgresql import running_postgresql  # only where a collected test needs a server

    with running_postgresql() as server:
        yield server


def pytest_configure(config: pytest.Config) -> None:
    """Begins the lists of what is left out."""
    config.stash[_LEFT_OUT] = {}
    config.stash[_OPTIONAL] = {}
    config.pluginmanager.register(_Recorder(config), "citysense-left-out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips each test whose marker names something absent."""
    needs = {**OPTIONAL_SERVERS, **NEEDS}
    used = {marker for item in items for marker in needs if item.get_closest_marker(marker)}
    absent = {marker: reason for marker in needs if marker in used and (reason := needs[marker]()) is not None}
    for item in items:
        reasons = {marker: reason for marker, reason in absent.items() if item.get_closest_marker(marker)}
        for reason in reasons.values():
            item.add_marker(pytest.mark.skip(reason=reason))
        if reasons and reasons.keys() <= OPTIONAL_SERVERS.keys():
            config.stash[_OPTIONAL][item.nodeid] = "; ".join(reasons.values())


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
        self._left_out.update({item.nodeid: DESELECTED for item in items})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run if a test was left out that may not be."""
    if _is_incomplete(session.config) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Writes the section LEFT OUT."""
    left_out = config.stash[_LEFT_OUT]
    if not left_out:
        terminalreporter.write_line("LEFT OUT: nothing")
        return
    terminalreporter.section(f"LEFT OUT: {len(left_out)}")
    optional = config.stash[_OPTIONAL]
    deselected = [nodeid for nodeid, reason in left_out.items() if reason == DESELECTED]
    named = left_out
    if len(deselected) > MOST_DESELECTED_NAMED:
        named = {nodeid: reason for nodeid, reason in left_out.items() if reason != DESELECTED}
        terminalreporter.write_line(f"{len(deselected)} tests: {DESELECTED}")
    for nodeid, reason in sorted(named.items()):
        terminalreporter.write_line(f"{nodeid}: {'optional server: ' if nodeid in optional else ''}{reason}")
    if _is_incomplete(config):
        terminalreporter.write_line(f"{REQUIRE_ALL}=1 or {REQUIRE_STACK}=1: a left-out test is a failure", red=True)


def _is_incomplete(config: pytest.Config) -> bool:
    left_out, optional = config.stash[_LEFT_OUT].keys(), config.stash[_OPTIONAL].keys()
    if os.environ.get(REQUIRE_STACK) == "1" and left_out & optional:
        return True
    return os.environ.get(REQUIRE_ALL) == "1" and bool(left_out - optional)


def _reason(longrepr: object) -> str:
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ")
