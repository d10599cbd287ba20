"""What changes when one configuration takes the place of another, and how it is told."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import ConfigurationError
from edge_agent.agent_plan import AgentPlan
from edge_agent.cli import run_command
from edge_agent.settings.ask_planner import ask_planner
from edge_agent.settings.plan_difference import compare_plans, describe_difference, describe_in_short
from edge_agent.settings.plan_process import plan_text

TEXT = """
[gateway]
gateway_id = "gw-1"
district_id = "harbour"
[mqtt]
[spool]
path = "spool.sqlite"
[[bus]]
bus_id = "north"
kind = "modbus_tcp"
host = "10.0.0.1"
[[bus.node]]
node_id = "gas-1"
profile = "honeywell_sensepoint_xrl"
device_id = 1
[[bus]]
bus_id = "south"
kind = "serial_frame"
port = "pty/co2"
[[bus.node]]
node_id = "co2-1"
profile = "winsen_mhz19b"
"""
THIRD = """
[[bus]]
bus_id = "east"
kind = "modbus_rtu"
port = "/dev/ttyS3"
[[bus.node]]
node_id = "gas-2"
profile = "honeywell_sensepoint_xrl"
device_id = 2
"""


def plan(text: str = TEXT) -> AgentPlan:
    return plan_text(text, "agent.toml", Path("/etc/agent"))


def test_a_comment_or_another_order_of_keys_is_no_difference():
    wordy = TEXT.replace('node_id = "gas-1"\nprofile', "# the old one\nprofile").replace(
        "device_id = 1", 'device_id = 1\nnode_id = "gas-1"'
    )
    assert compare_plans(plan(), plan(wordy)).is_none
    assert describe_in_short(compare_plans(plan(), plan(wordy))) == "unchanged"


def test_a_line_that_is_the_same_is_kept_and_others_are_told_apart():
    changed = TEXT.replace("device_id = 1", "device_id = 7") + THIRD
    difference = compare_plans(plan(), plan(changed))
    assert (difference.kept, difference.changed, difference.added) == (("south",), ("north",), ("east",))
    assert not difference.needs_restart
    back = compare_plans(plan(changed), plan())
    assert (back.withdrawn, back.changed, back.kept) == (("east",), ("north",), ("south",))


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ('profile = "winsen_mhz19b"', 'profile = "winsen_mhz19b"\npoll_interval_s = 5.0', ("south",)),
        ('host = "10.0.0.1"', 'host = "10.0.0.2"', ("north",)),
        ("device_id = 1", "device_id = 1\nbad_repeat_s = 60.0", ("north",)),
        ("device_id = 1", "device_id = 1\nreport.methane_lel.deadband = 1.0", ("north",)),
        ("device_id = 1", 'device_id = 1\ncalibration.methane_lel = { kind = "linear", scale = 2.0 }', ("north",)),
    ],
)
def test_whatever_changes_of_a_line_makes_it_another_one(old, new, lines):
    assert old in TEXT
    assert compare_plans(plan(), plan(TEXT.replace(old, new))).changed == lines


def test_another_broker_needs_a_restart_and_a_fall_back_time_does_not():
    broker = compare_plans(plan(), plan(TEXT.replace("[mqtt]", '[mqtt]\nhost = "broker"')))
    assert broker.needs_restart
    assert broker.tables == ("mqtt",)
    patience = compare_plans(plan(), plan(TEXT + "[configuration]\nfall_back_after_s = 60.0\n"))
    assert (patience.fall_back, patience.needs_restart, patience.is_none) == (True, False, False)


def test_check_config_tells_a_field_engineer_what_would_change(tmp_path, capsys):
    (tmp_path / "running.toml").write_text(TEXT)
    wanted = tmp_path / "agent.toml"
    wanted.write_text(TEXT.replace('"gas-1"', '"gas-9"') + THIRD)
    assert run_command(["check-config", "--config", str(wanted), "--against", str(tmp_path / "running.toml")]) == 0
    told = capsys.readouterr().out
    assert "north: changed, is stopped and started" in told
    assert "+ gas-9/methane_lel" in told
    assert "- gas-1/methane_lel" in told
    assert "east: new line, 1 channel" in told
    assert "1 lines keep polling: south" in told


def test_check_config_against_a_version_that_never_ran_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr("edge_agent.cli.INSTALLED_VERSIONS", tmp_path / "nothing")
    (tmp_path / "agent.toml").write_text(TEXT)
    assert run_command(["check-config", "--config", str(tmp_path / "agent.toml"), "--against"]) == 1
    assert "name a file, --against FILE" in capsys.readouterr().err


def test_a_change_of_the_broker_is_told_with_what_it_was():
    told = describe_difference(plan(), plan(TEXT.replace("[mqtt]", '[mqtt]\nhost = "broker"')))
    assert "[mqtt] changes: host = 'broker' (was '127.0.0.1')" in told
    assert told[-1].startswith("needs a restart of all lines")


# The planning process -------------------------------------------------------------------------------------------------


def test_the_planning_process_gives_the_same_plan_and_all_faults(tmp_path):
    text = TEXT.replace("pty/co2", str(tmp_path / "co2"))
    assert compare_plans(ask_planner(text, "agent.toml", tmp_path), plan_text(text, "agent.toml", tmp_path)).is_none
    with pytest.raises(ConfigurationError) as caught:
        ask_planner(TEXT.replace("device_id = 1", "device_id = 300"), "agent.toml", tmp_path)
    assert [fault.path for fault in caught.value.faults] == ["$.bus[0].node[0].device_id"]
    assert str(caught.value).startswith("agent.toml: ")


def test_a_modbus_plan_is_plain_whoever_reads_it_needs_no_pydantic():
    octets = pickle.dumps(plan(TEXT.partition('[[bus]]\nbus_id = "south"')[0]))
    reader = (
        "import pickle, sys; import edge_agent.run_agent; plan = pickle.load(sys.stdin.buffer);"
        "assert len(list(plan.channel_names())) == 1; sys.exit('pydantic' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", reader], input=octets, cwd=root).returncode == 0
