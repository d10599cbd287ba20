"""The watchdog is fed by the work, not by a timer."""

from __future__ import annotations

import os
import socket

import pytest

from edge_agent.liveness import SPOOL, Liveness, line_limit_s
from edge_agent.systemd_notify import ALIVE, notify, watchdog_interval_s


def test_each_part_must_get_on_within_its_own_limit():
    one = Liveness()
    one.expect(SPOOL, 45.0, 0.0)
    one.expect("bus/a", line_limit_s(1.0), 0.0)
    assert one.standing_still(45.0) == []
    one.got_on("bus/a", 45.0)
    assert one.standing_still(46.0) == [SPOOL]
    one.got_on(SPOOL, 100.0)
    assert one.standing_still(107.5) == ["bus/a"]
    assert one.standing_still(200.0) == [SPOOL, "bus/a"]


def test_nothing_is_asked_of_a_part_that_is_not_expected():
    one = Liveness()
    one.got_on("bus/listens", 0.0)
    assert one.standing_still(1_000.0) == []


@pytest.mark.parametrize("is_abstract", [False, True])
def test_systemd_is_told_on_its_socket(monkeypatch, tmp_path, is_abstract):
    address = f"@citysense-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{address[1:]}" if is_abstract else address)
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert notify(ALIVE, "STATUS=3 lines")
        assert systemd.recv(1024) == b"WATCHDOG=1\nSTATUS=3 lines"


def test_without_systemd_nothing_is_told_and_a_socket_that_is_gone_is_no_end(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify(ALIVE)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify(ALIVE)


@pytest.mark.parametrize(
    ("limit", "pid", "interval_s"),
    [
        ("20000000", None, 10.0),
        ("20000000", "own", 10.0),
        ("20000000", "1", None),
        (None, None, None),
        ("0", None, None),
    ],
)
def test_the_watchdog_wants_to_hear_twice_within_its_limit(monkeypatch, limit, pid, interval_s):
    for name, value in (("WATCHDOG_USEC", limit), ("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert watchdog_interval_s() == interval_s
