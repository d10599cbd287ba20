"""What `edge-agent` says to wrong arguments, in a terminal of 80 columns."""

from __future__ import annotations

import pytest

from edge_agent.cli import run_command

STATIONS_ONLY = """
[gateway]
gateway_id = "gw-1"
district_id = "harbour"
[mqtt]
[spool]
path = "spool.sqlite"
[[bus]]
bus_id = "stations"
kind = "hj212"
endpoint = { kind = "tcp", port = 18212 }
[[bus.node]]
node_id = "outfall-1"
mn = "STATION1"
password = "123456"
factors = ["w01018"]
"""
POLLED = """
[[bus]]
bus_id = "co2"
kind = "serial_frame"
port = "/dev/nowhere"
[[bus.node]]
node_id = "co2-1"
profile = "winsen_mhz19b"
"""


@pytest.fixture
def say(capsys, monkeypatch, tmp_path):
    """Runs a command on a configuration; gives its exit code and what it says."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(command: str, *arguments: str, text: str = STATIONS_ONLY) -> tuple[int, str]:
        path = tmp_path / "agent.toml"
        path.write_text(text)
        try:
            code = run_command([command, "--config", str(path), *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


@pytest.mark.parametrize("text", ["-3", "abc", "nan", "1e9"])
def test_a_time_to_wait_that_is_none_is_named(say, text):
    code, said = say("read-once", "--wait", text)
    assert code == 2
    assert f"'{text}' is no number of seconds" in said


@pytest.mark.parametrize("text", ["0", "-1", "x"])
def test_a_count_of_tables_that_is_none_is_named(say, text):
    code, said = say("watch", "--count", text)
    assert code == 2
    assert f"'{text}' is not a number from 1 on" in said


def test_watch_says_that_nothing_is_polled_in_place_of_an_empty_table(say):
    code, said = say("watch", "--count", "1")
    assert code == 2
    assert "no line is polled (stations that call us are shown by read-once)" in said


def test_watch_names_the_nodes_that_it_knows(say):
    code, said = say("watch", "--count", "1", "--node", "nope", text=STATIONS_ONLY + POLLED)
    assert code == 2
    assert "'nope' is not one of co2-1 (stations that call us" in said


@pytest.mark.parametrize("command", ["run", "check-config", "read-once", "watch", "spool-status"])
def test_help_fits_into_a_small_terminal_and_says_what_each_option_is_for(say, command):
    code, said = say(command, "--help")
    assert code == 0
    lines = said.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for option in [line for line in lines if line.startswith("  --")]:
        at = lines.index(option)
        assert len(option.split()) > 2 or lines[at + 1].startswith("      "), f"{option!r} says nothing"


def test_a_file_that_is_not_there_is_not_taken_for_hexadecimal_digits(capsys):
    assert run_command(["decode", "--device", "winsen_mhz19b", "/nowhere/capture.pcap"]) == 2
    assert "there is no file '/nowhere/capture.pcap'" in capsys.readouterr().err
