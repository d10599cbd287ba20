"""Outputs, actuators and TLS in the configuration: every fault with its place and value."""

from pathlib import Path

import pytest

from contracts.errors import ConfigurationError
from edge_agent.channel_table import ChannelTable
from edge_agent.outputs.plan_outputs import plan_conditions
from edge_agent.plan_agent import plan_actuators
from edge_agent.settings.configuration import AgentSettings, parse_configuration
from edge_agent.settings.load_profiles import load_profiles

PROFILES = load_profiles(None)
TEXT = """
[gateway]
gateway_id = "gw"
district_id = "harbour"
[mqtt]
host = "broker.example"
port = 8883
[mqtt.tls]
ca_file = "city.pem"
certificate_file = "gw.pem"
key_file = "gw.key"
[spool]
path = "spool.sqlite"
[[bus]]
bus_id = "rs485"
kind = "modbus_tcp"
host = "127.0.0.1"
[[bus.node]]
node_id = "co2"
profile = "honeywell_sensepoint_xrl"
device_id = 1
[[bus.node.actuator]]
name = "horn"
function_code = 5
address = 7
data_type = "coil"
minimum = 0
maximum = 1
[[output]]
output_id = "siren"
[[output.condition]]
node_id = "co2"
quantity = "methane_lel"
set_point = 25
[output.on]
kind = "write"
node_id = "co2"
actuator = "horn"
value = 1
[output.off]
kind = "command"
argv = ["/usr/bin/true"]
"""


def parse(old: str = "", new: str = "") -> AgentSettings:
    assert old in TEXT
    return parse_configuration(TEXT.replace(old, new), "agent.toml", PROFILES)


def test_outputs_and_actuators_are_planned_with_their_channels():
    settings = parse()
    assert [actuator.metric_name for actuator in plan_actuators(settings)] == ["co2/horn"]
    channels = ChannelTable()
    channels.add("rs485", "other", "methane_lel")
    alias = channels.add("rs485", "co2", "methane_lel")
    ((output_id, (condition,)),) = plan_conditions(settings.output, channels)
    assert (output_id, condition.alias, condition.threshold.set_point) == ("siren", alias, 25.0)


def test_a_condition_on_a_channel_that_is_not_there_is_a_fault_when_it_is_planned():
    with pytest.raises(ConfigurationError, match=r"\$.output\[0\].condition\[0\]: co2/methane_lel"):
        plan_conditions(parse().output, ChannelTable())


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('key_file = "gw.key"', "", "$.mqtt.tls: certificate_file and key_file belong together"),
        ('ca_file = "city.pem"', "", "$.mqtt.tls.ca_file: is missing"),
        ('ca_file = "city.pem"', 'ca_file = "city.pem"\nverify = false', "$.mqtt.tls.verify: unknown key"),
        ('ca_file = "city.pem"', 'ca_file = "c"\nminimum_version = "1.0"', "$.mqtt.tls.minimum_version: '1.0'"),
        ("port = 8883", 'port = 8883\nprotocol = "4"', "$.mqtt.protocol: '4'"),
        ("port = 8883", 'port = 8883\nstandby = [{ host = "" }]', "$.mqtt.standby[0].host: ''"),
        ('[[output.condition]]\nnode_id = "co2"', '[[output.condition]]\nnode_id = "no"',
         "$.output[0].condition[0].node_id: 'no': there is no node of that name"),
        ('quantity = "methane_lel"', 'quantity = "strain"', "condition[0].quantity: 'strain': co2 measures"),
        ('actuator = "horn"', 'actuator = "bell"', "$.output[0].on.actuator: 'bell': co2 declares horn"),
        ("value = 1", "value = 2", "$.output[0].on.value: 2: co2/horn takes 0 to 1"),
        ("value = 1", 'value = "on"', "$.output[0].on.value: 'on'"),
        ('argv = ["/usr/bin/true"]', "argv = []", "$.output[0].off.argv"),
        ('argv = ["/usr/bin/true"]', 'argv = "rm -r x"', "$.output[0].off.argv: 'rm -r x'"),
        ('name = "horn"', 'name = "methane_lel"',
         "$.bus[0].node[0].actuator[0].name: 'methane_lel': stands at the profile already"),
        ("function_code = 5", "function_code = 6", "function code 6 writes u16 or i16, not coil"),
        ("set_point = 25", "set_point = nan", "$.output[0].condition[0].set_point"),
        ("set_point = 25", 'set_point = 25\ndirection = "up"', "$.output[0].condition[0].direction: 'up'"),
        ('output_id = "siren"', 'output_id = "Siren 1"', "$.output[0].output_id: 'Siren 1'"),
    ],
)  # fmt: skip
def test_a_fault_names_its_place_and_value(old, new, fault):
    with pytest.raises(ConfigurationError) as raised:
        parse(old, new)
    assert fault in str(raised.value)


def test_an_output_that_stands_twice_is_a_fault():
    twice = TEXT[TEXT.index("[[output]]") :]
    with pytest.raises(ConfigurationError, match=r"\$.output\[1\].output_id: 'siren': stands at \$.output\[0\]"):
        parse_configuration(TEXT + twice, "agent.toml", PROFILES)


def test_the_documented_example_shows_tls_an_actuator_and_an_output():
    example = Path(__file__).parents[3] / "edge_agent/example.toml"
    settings = parse_configuration(example.read_text(), "example.toml", PROFILES)
    assert settings.mqtt.tls is not None
    assert settings.output
    assert plan_actuators(settings)
