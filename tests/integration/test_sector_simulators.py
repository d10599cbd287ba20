"""Simulated stations and instruments by their command line, and the agent at the other end, by its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.serial_instrument import INSTRUMENTS
from tests.mqtt_probe import accepts, free_port

AGENT = [sys.executable, "-m", "edge_agent.cli"]
SIMULATOR = [sys.executable, "-m", "simulators.cli"]
DEADLINE_S = 20.0
HEAD = """
[gateway]
gateway_id = "gw-1"
district_id = "harbour"
[mqtt]
port = {mqtt_port}
[spool]
path = "spool.sqlite"
"""
STATIONS = """
[[bus]]
bus_id = "stations"
kind = "hj212"
endpoint = {{ kind = "tcp", port = {port} }}
[[bus.node]]
node_id = "outfall-1"
mn = "010000A8900016F000169DC0"
password = "123456"
factors = ["w01018", "w01001"]
"""
PANEL = """
[[bus]]
bus_id = "panel"
kind = "gb26875_3"
endpoint = {{ kind = "tcp", port = {port} }}
[[bus.node]]
node_id = "transmitter"
transmitter = 3456
"""
LINE = """
[[bus]]
bus_id = "{name}"
kind = "serial_frame"
port = "{link}"
timeout_s = 3.0
[[bus.node]]
node_id = "{name}-1"
profile = "{profile}"
poll_interval_s = 5.0
quantities = {quantities}
"""
PROFILES = {
    "plantower": "plantower_pmsx003",
    "sds011": "novafitness_sds011",
    "sps30": "sensirion_sps30",
    "vaisala": "vaisala_wxt",
    "nmea": "vaisala_wxt_nmea",
    "davis": "davis_vantage_loop",
}
MEASURED = {
    "plantower": {"pm2_5": 37.0, "pm10": 41.0},
    "sds011": {"pm2_5": 37.1, "pm10": 41.2},
    "sps30": {"pm1": 17.0, "pm10": 19.125},
    "vaisala": {"temperature": -7.5, "wind_speed": 11.5},
    "nmea": {"wind_speed": 11.5, "wind_direction": 125.0},
    "davis": {"temperature": -7.5, "wind_direction": 125.0},
}
"""Told to each instrument; 17.0 and 19.125 as floats hold bytes that SHDLC must stuff (11 hex)."""


def configure(folder: Path, *buses: str) -> Path:
    path = folder / "agent.toml"
    path.write_text("".join((HEAD.format(mqtt_port=free_port()), *buses)))
    return path


def simulate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SIMULATOR, *words], capture_output=True, text=True, timeout=30, check=False)


@contextlib.contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


def wait_until(is_true, what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("bus", "words", "again", "summary"),
    [
        (
            STATIONS,
            ("hj212", "--count", "2", "--wrong-crc"),
            "-> the same again",
            "2 reports made, 2 answered, 0 given up",
        ),
        (
            PANEL,
            ("gb26875", "--state", "fire", "--state", "normal", "--wrong-sum"),
            "<- number 0 is denied",
            "2 reports made, 2 confirmed, 0 given up",
        ),
    ],
    ids=["hj212", "gb26875"],
)
def test_a_station_by_its_command_line_has_its_reports_confirmed_by_a_running_agent(
    tmp_path, bus, words, again, summary
):
    port = free_port()
    with running(*AGENT, "run", "--config", str(configure(tmp_path, bus.format(port=port)))):
        wait_until(lambda: accepts(port), "the agent listens")
        line = ("--connect", f"127.0.0.1:{port}", "--interval", "0.2", "--retry-after", "0.3", "--linger", "0.2")
        told = simulate(*words, *line)
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.endswith(f"{summary}\n")
    assert again in told.stdout, "what was corrupt was sent again"


def test_a_station_that_nobody_answers_gives_up_and_says_so(tmp_path):
    link = tmp_path / "line"
    told = simulate("hj212", "--link", str(link), "--count", "1", "--retry-after", "0.1", "--retries", "1")
    assert told.returncode == 1
    assert "given up" in told.stdout
    assert told.stdout.endswith("1 reports made, 0 answered, 1 given up\n")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("hj212", "--connect", "here"), "'here' is not HOST:PORT"),
        (("hj212", "--connect", "h:1", "--factor", "w01018"), "'w01018' is not CODE=NUMBER"),
        (("hj212",), "--connect --link"),
        (("gb26875", "--link", "x", "--component", "1/3"), "'1/3' is not TYPE/SYSTEM/NUMBER"),
        (("gb26875", "--link", "x", "--state", "smoke"), "invalid choice: 'smoke'"),
        (("instrument", "sps30", "--link", "x", "--value", "pm1=a"), "'a' is no number"),
        (("instrument", "sps30", "--link", "x", "--value", "strain=1"), "does not measure 'strain', but pm1, pm2_5"),
    ],
)
def test_a_wrong_word_is_named(words, named):
    told = simulate(*words)
    assert told.returncode in {1, 2}
    assert named in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("bus", "words", "shown"),
    [
        (
            STATIONS,
            ("hj212", "--count", "1", "--factor", "w01018=12.5"),
            ["23 23 30 31", '"CN": "2011"', "stations/outfall-1  chemical_oxygen_demand  12.5 mg/L  good"],
        ),
        (PANEL, ("gb26875", "--state", "fire"), ["40 40 00 00", "panel/transmitter  fire_alarm  1  good"]),
    ],
    ids=["hj212", "gb26875"],
)
def test_read_once_shows_the_next_frame_of_a_station_in_hex_and_decoded_and_gives_no_receipt(
    tmp_path, bus, words, shown
):
    port = free_port()
    config = configure(tmp_path, bus.format(port=port))
    with running(*AGENT, "read-once", "--config", str(config), "--wait", "20") as agent:
        wait_until(lambda: accepts(port), "read-once listens")
        with running(*SIMULATOR, *words, "--connect", f"127.0.0.1:{port}", "--retry-after", "60"):
            text, _ = agent.communicate(timeout=DEADLINE_S)
    assert agent.returncode == 0, text
    for one in shown:
        assert one in text
    assert "answers nothing" in text
    assert not (tmp_path / "spool.sqlite").exists()


def test_read_once_says_who_was_silent_and_who_was_refused(tmp_path):
    port = free_port()
    config = configure(tmp_path, STATIONS.format(port=port))
    with running(*AGENT, "read-once", "--config", str(config), "--wait", "4") as agent:
        wait_until(lambda: accepts(port), "read-once listens")
        with running(*SIMULATOR, "hj212", "--mn", "STRANGER", "--connect", f"127.0.0.1:{port}"):
            text, _ = agent.communicate(timeout=DEADLINE_S)
    assert agent.returncode == 1
    assert "unknown_station mn='STRANGER'" in text
    assert "stations/outfall-1  nothing came within 4 s" in text


def test_the_agent_reads_an_instrument_of_each_kind_of_frame(tmp_path):
    lines = [
        LINE.format(name=name, link=tmp_path / name, profile=PROFILES[name], quantities=list(MEASURED[name])).replace(
            "'", '"'
        )
        for name in INSTRUMENTS
    ]
    config = configure(tmp_path, *lines)
    with contextlib.ExitStack() as stack:
        for name in INSTRUMENTS:
            words = [word for pair in MEASURED[name].items() for word in ("--value", f"{pair[0]}={pair[1]}")]
            stack.enter_context(running(*SIMULATOR, "instrument", name, "--link", str(tmp_path / name), *words))
        wait_until(lambda: all((tmp_path / name).exists() for name in INSTRUMENTS), "all lines are there")
        read_once = [*AGENT, "read-once", "--config", str(config)]
        subprocess.run([*read_once, "--node", "davis-1"], capture_output=True, timeout=60, check=False)  # wakes it
        told = subprocess.run(read_once, capture_output=True, text=True, timeout=60, check=False)
    rows = [line.split("  ") for line in told.stdout.splitlines()]
    read = {(row[0].split("/")[0], row[1]): row[2] for row in rows if row[-1] == "good"}
    assert told.returncode == 0, told.stdout + told.stderr
    for name, measured in MEASURED.items():
        for quantity, value in measured.items():
            assert float(read[name, quantity].split(" ")[0]) == pytest.approx(value, abs=0.6), (name, quantity)
