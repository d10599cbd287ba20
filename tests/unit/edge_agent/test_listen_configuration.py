"""Buses that listen in the agent's TOML: the shipped example, and every fault at once with its path."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from contracts.errors import ConfigurationError
from edge_agent.agent_plan import ListeningLinePlan, PolledLinePlan
from edge_agent.channel_table import ChannelTable
from edge_agent.lines.build_endpoint import build_endpoint
from edge_agent.lines.build_poller import build_line
from edge_agent.plan_agent import plan_agent
from edge_agent.settings.configuration import AgentSettings, parse_configuration
from edge_agent.settings.load_profiles import load_profiles

PROFILES = load_profiles()
EXAMPLE = (resources.files("edge_agent") / "example.toml").read_text()


def parse(text: str) -> AgentSettings:
    return parse_configuration(text, "agent.toml", PROFILES)


def faults_of(text: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_the_shipped_examples_listening_buses_get_aliases_behind_the_polled_ones():
    plan = plan_agent(parse(EXAMPLE), PROFILES, Path("/etc/agent"))
    channels = ChannelTable()
    for line in plan.lines:
        if isinstance(line, PolledLinePlan):
            build_line(line, channels)
    polled = len(channels)
    listening = [line for line in plan.lines if isinstance(line, ListeningLinePlan)]
    stations, fire = (build_endpoint(line, channels) for line in listening)
    assert [channels[alias].metric_name for alias in stations.aliases] == [
        "outfall-1/chemical_oxygen_demand",
        "outfall-1/ph",
        "outfall-1-hours/chemical_oxygen_demand",
    ]
    assert stations.aliases == tuple(range(polled + 1, polled + 4))
    assert [channels[alias].quantity for alias in fire.aliases] == [
        "fire_alarm",
        "fault",
        "mains_failure",
        "battery_failure",
        "fire_alarm",
    ]
    assert (listening[0].bus.endpoint.host, listening[0].bus.endpoint.port) == ("127.0.0.1", 8212)


def test_a_listening_port_is_relative_to_the_file_too():
    settings = parse(EXAMPLE.replace('port = "/dev/ttyS2"', 'port = "pty/fire"'))
    *_, fire = plan_agent(settings, PROFILES, Path("/etc/agent")).lines
    assert fire.bus.endpoint.port == "/etc/agent/pty/fire"


def test_all_faults_are_named_at_once_with_path_and_value():
    faults = faults_of(
        EXAMPLE.replace('port = "/dev/ttyS2", baud_rate = 9600', 'port = "/dev/ttyS2", baud_rate = 9601')
        .replace("port = 8212", "port = 82120")
        .replace(
            'password = "123456"\nfactors = ["w01018", "w01001"]', 'password = "123456"\nfactors = ["w01018", "w0"]'
        )
        .replace('node_id = "smoke-17"', 'node_id = "outfall-1"')
        .replace("component_address = 17\n", 'component_address = 17\nprofile = "x"\n')
        .replace("realtime_interval_s = 60 ", "realtime_interval_s = 5 ")
    )
    at = len(EXAMPLE.split("[[bus]]")) - 3
    assert f"$.bus[{at}].endpoint.port" in faults, faults
    assert "82120" in faults[f"$.bus[{at}].endpoint.port"]
    assert f"$.bus[{at}].realtime_interval_s" in faults
    assert "'w0' is none of annex B" in faults[f"$.bus[{at}].node[0]"]
    assert "9601" in faults[f"$.bus[{at + 1}].endpoint.baud_rate"]
    assert "stands at" in faults[f"$.bus[{at + 1}].node[1].node_id"]
    assert faults[f"$.bus[{at + 1}].node[1].profile"]


def test_one_port_for_two_buses_is_a_fault():
    fire = EXAMPLE.replace(
        'endpoint = { kind = "serial", port = "/dev/ttyS2", baud_rate = 9600 }',
        'endpoint = { kind = "tcp", port = 8212 }',
    )
    assert any(path.endswith("endpoint.port") and "8212" in text for path, text in faults_of(fire).items())
    line = EXAMPLE.replace('port = "/dev/ttyS2"', 'port = "/dev/ttyS1"')
    assert any(path.endswith("endpoint.port") and "ttyS1" in text for path, text in faults_of(line).items())
