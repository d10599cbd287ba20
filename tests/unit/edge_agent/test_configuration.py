"""The agent's TOML: the shipped example, and every fault at once."""

from importlib import resources
from pathlib import Path

import pytest

from contracts.errors import ConfigurationError
from edge_agent.agent_plan import PolledLinePlan
from edge_agent.cli import run_command
from edge_agent.plan_agent import plan_agent
from edge_agent.settings.configuration import parse_configuration
from edge_agent.settings.load_profiles import load_profiles

PROFILES = load_profiles()
EXAMPLE = (resources.files("edge_agent") / "example.toml").read_text()


def faults_of(text: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text, "agent.toml", PROFILES)
    return {fault.path: fault.message for fault in caught.value.faults}


def polled(settings) -> list[PolledLinePlan]:
    plan = plan_agent(settings, PROFILES, Path("/etc/agent"))
    return [line for line in plan.lines if isinstance(line, PolledLinePlan)]


def test_the_shipped_example_is_right_and_plans_its_buses():
    settings = parse_configuration(EXAMPLE, "example.toml", PROFILES)
    plans = polled(settings)
    assert [plan.settings.kind for plan in plans] == ["modbus_tcp", "modbus_rtu", "serial_frame"]
    assert [name for plan in plans for name in plan.channel_names()] == [
        ("gas-001", "methane_lel"),
        ("strain-07", "strain"),
        ("deck-temperature-1", "temperature"),
        ("co2-1", "carbon_dioxide"),
    ]


def test_a_relative_port_is_relative_to_the_file():
    text = EXAMPLE.replace('port = "/dev/ttyS1"', 'port = "pty/co2"')
    buses = polled(parse_configuration(text, "example.toml", PROFILES))
    assert buses[2].settings.port == "/etc/agent/pty/co2"
    assert buses[1].settings.port.startswith("/dev/serial/"), "an absolute one stays as it is"


def test_all_faults_are_named_at_once_with_path_value_and_what_is_allowed():
    text = (
        EXAMPLE.replace("baud_rate = 115200", "baud_rate = 9601")
        .replace('profile = "honeywell_sensepoint_xrl"', 'profile = "honeywell_xrl"')
        .replace("device_id = 20", "device_id = 300")
        .replace("channel_index = 7", "channel_index = 17")
        .replace('node_id = "co2-1"', 'node_id = "gas-001"')
        .replace('bus_id = "co2-uart"', 'bus_id = "gas-tcp"')
        .replace('kind = "vibrating_wire"', 'kind = "linear"')
        .replace("gauge_factor = 4.062\nzero_frequency_hz = 900.0", "scale = 2.0")
        .replace('protocol = "auto" ', 'protocol = "4" ')
        .replace("flush_interval_s = 1.0", "flush_interval = 1.0")
        .replace("poll_interval_s = 1.0", "poll_interval_s = 0.0005")
    )
    faults = faults_of(text)
    assert set(faults) == {
        "$.mqtt.protocol",
        "$.spool.flush_interval",
        "$.bus[0].node[0].poll_interval_s",
        "$.bus[1].baud_rate",
        "$.bus[1].node[1].device_id",
        "$.bus[0].node[0].profile",
        "$.bus[1].node[0].channel_index",
        "$.bus[1].node[0].calibration.strain",
        "$.bus[2].bus_id",
        "$.bus[2].node[0].node_id",
    }
    assert "9601" in faults["$.bus[1].baud_rate"]
    assert "115200" in faults["$.bus[1].baud_rate"]
    assert all(name in faults["$.bus[0].node[0].profile"] for name in PROFILES)
    assert faults["$.bus[1].node[0].channel_index"] == "17 is not one of 1…16"


def test_a_profile_of_another_protocol_does_not_fit_a_bus():
    faults = faults_of(EXAMPLE.replace('profile = "winsen_mhz19b"', 'profile = "geokon_3810a"'))
    assert "modbus" in faults["$.bus[2].node[0].profile"]


def test_a_repeated_profile_needs_a_place_and_a_calibration():
    faults = faults_of(EXAMPLE.replace("channel_index = 7\n", "").replace("[bus.node.calibration.strain]", "[x]"))
    assert "is missing" in faults["$.bus[1].node[0].channel_index"]
    assert "vibrating_wire" in faults["$.bus[1].node[0].calibration.strain"]


@pytest.mark.parametrize("text", ["", "gateway = 3", "[[bus]]", "bus = 'x'", "not toml ="])
def test_no_document_is_too_broken_to_be_named(text):
    assert faults_of(text)


def test_check_config_says_ok_or_lists_faults_with_exit_code_2(tmp_path, capsys):
    path = tmp_path / "agent.toml"
    path.write_text(EXAMPLE)
    assert run_command(["check-config", "--config", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: ok\n"
    path.write_text(EXAMPLE.replace("115200", "9601"))
    assert run_command(["check-config", "--config", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{path}: $.bus[1].baud_rate: 9601: ")
    assert run_command(["check-config", "--config", str(tmp_path / "absent.toml")]) == 2


def test_every_shipped_profile_names_its_source_and_only_known_quantities():
    assert {"honeywell_sensepoint_xrl", "winners_vtn416", "geokon_3810a", "notifier_modbus_gw"} <= set(PROFILES)
    for name, profile in PROFILES.items():
        assert len(profile.source) > 40, name


def test_profiles_of_ones_own_are_found_beside_the_configuration_and_their_faults_are_named(tmp_path, capsys):
    path = tmp_path / "agent.toml"
    text = EXAMPLE.replace('# profile_folder = "profiles"', 'profile_folder = "own"')
    path.write_text(text.replace('"geokon_3810a"', '"my_thermometer"'))
    assert run_command(["check-config", "--config", str(path)]) == 2
    assert "profile_folder: cannot be read" in capsys.readouterr().err
    (tmp_path / "own").mkdir()
    profile = tmp_path / "own/my_thermometer.toml"
    lines = ['protocol = "modbus"', 'title = "T"', 'source = "made for this test"', "[[channel]]", "address = 0"]
    profile.write_text("\n".join([*lines, 'quantity = "temperature"']))
    assert run_command(["check-config", "--config", str(path)]) == 0
    profile.write_text("\n".join([*lines, 'quantity = "temprature"', "adress = 1"]))
    assert run_command(["check-config", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert "my_thermometer.toml" in error
    assert "adress: unknown key" in error


NODE = """
[[bus]]
bus_id = "more-gas"
kind = "modbus_rtu"
port = "/dev/ttyS9"
[[bus.node]]
node_id = "co-9"
profile = "honeywell_sensepoint_xcd_rfd"
device_id = 9
"""


def test_an_instrument_that_is_sold_for_several_gases_must_say_for_which_one():
    faults = faults_of(EXAMPLE + NODE)
    assert "is missing: one of" in faults["$.bus[5].node[0].measures"]
    assert "'argon': one of" in faults_of(EXAMPLE + NODE + 'measures = "argon"\n')["$.bus[5].node[0].measures"]
    settings = parse_configuration(EXAMPLE + NODE + 'measures = "oxygen"\n', "agent.toml", PROFILES)
    assert list(polled(settings)[-1].channel_names()) == [("co-9", "oxygen")]
    only_gas = EXAMPLE.replace('profile = "geokon_3810a"', 'profile = "geokon_3810a"\nmeasures = "oxygen"')
    assert "leave measures out" in next(iter(faults_of(only_gas).values()))


def test_deadbands_are_in_units_or_percent_of_the_instruments_range():
    text = EXAMPLE + NODE + 'measures = "oxygen"\n[bus.node.report]\noxygen = { deadband = 0.2, max_silence_s = 30 }\n'
    (rule,) = polled(parse_configuration(text, "agent.toml", PROFILES))[3].devices[0].reports()
    assert (rule.deadband, rule.max_silence_s) == (0.2, 30.0)
    xrl = NODE.replace("_xcd_rfd", "_xrl") + "[bus.node.report]\nmethane_lel = { deadband_percent = 2.0 }\n"
    (rule,) = polled(parse_configuration(EXAMPLE + xrl, "agent.toml", PROFILES))[3].devices[0].reports()
    assert rule.deadband == 2.0, "2 % of 0 to 100 %LEL"


@pytest.mark.parametrize(
    ("report", "path"),
    [
        ("oxygen = { deadband_percent = 1.0 }", "$.bus[5].node[0].report.oxygen.deadband_percent"),
        ("strain = { deadband = 1.0 }", "$.bus[5].node[0].report.strain"),
        ("oxygen = { deadband = 1.0, deadband_percent = 1.0 }", "$.bus[5].node[0].report.oxygen"),
        ("oxygen = { max_silence_s = 10.0 }", "$.bus[5].node[0].report.oxygen"),
        ("oxygen = { deadband = -1.0 }", "$.bus[5].node[0].report.oxygen.deadband"),
    ],
)
def test_a_report_rule_that_cannot_be_is_named_with_its_path(report, path):
    assert path in faults_of(EXAMPLE + NODE + f'measures = "oxygen"\n[bus.node.report]\n{report}\n')


def test_seven_data_bits_go_with_ascii_frames_only():
    line = NODE.replace('port = "/dev/ttyS9"', 'port = "/dev/ttyS9"\ndata_bits = 7') + 'measures = "oxygen"\n'
    assert any("ascii" in message for message in faults_of(EXAMPLE + line).values())
    parse_configuration(EXAMPLE + line.replace("data_bits", 'framing = "ascii"\ndata_bits'), "agent.toml", PROFILES)
